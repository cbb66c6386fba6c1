"""The figures of the whole suite as Prometheus asks for them: read when it does, and not before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import protosuite
from protosuite.figures import Figure, Histogram, Kind

PREFIX = "protosuite_"

Tell = Callable[[], Iterable[Figure]]


class Figures(Collector):
    """What `tell` tells when it is asked. Figures of one name become one metric, whoever they are from."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is to tell is known when it is asked for."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of it, as it is now."""
        info = InfoMetricFamily(PREFIX + "build", "The version that runs.")
        info.add_metric((), {"version": protosuite.__version__})
        yield info
        found: dict[str, Any] = {}  # metrics that samples are added to, each in its way
        for figure in self._tell():
            if figure.name not in found:
                found[figure.name] = _family(figure)
            metric = found[figure.name]
            for labels, value in figure.samples:
                if isinstance(value, Histogram):
                    metric.add_metric(labels, _buckets(value), value.total)
                else:
                    metric.add_metric(labels, value)
        yield from found.values()


def registry(tell: Tell) -> CollectorRegistry:
    """A registry of its own, with what there is to know of the process too."""
    result = CollectorRegistry(auto_describe=False)
    result.register(Figures(tell))
    ProcessCollector(registry=result)
    PlatformCollector(registry=result)
    GCCollector(registry=result)
    return result


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The metrics and their content type, in the form that an ``Accept`` header asks for."""
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


_FAMILIES = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
}


def _family(figure: Figure) -> Any:
    return _FAMILIES[figure.kind](PREFIX + figure.name, figure.doc, labels=figure.labels)


def _buckets(value: Histogram) -> list[tuple[str, float]]:
    """Each bound with how many were at most that."""
    counts = list(value.counts)  # its thread goes on counting
    result, total = [], 0
    for bound, count in zip((*value.bounds, float("inf")), counts, strict=True):
        total += count
        result.append(("+Inf" if bound == float("inf") else repr(bound), float(total)))
    return result
