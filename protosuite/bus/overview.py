"""What the bus tells of itself: what is published, what waits, and what was dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import nlargest

from protosuite.bus.broker import Broker
from protosuite.figures import Figure, counter, gauge

_SHOWN = 20  # durable subscriptions


def figures(broker: Broker, waiting: int, unstored: int, internal_dropped: int) -> Iterator[Figure]:
    """For machines. `waiting` publishers wait for room, `unstored` bytes of events for the store."""
    durables = broker.durables.values()
    for name, doc, value in (
        ("topics", "Topics that are remembered.", broker.topics),
        ("retained_bytes", "Bytes of events that are kept for replay.", broker.retained_bytes),
        ("subscriptions", "Best-effort subscriptions.", broker.subscriptions),
        ("durable_subscriptions", "Durable subscriptions.", len(durables)),
        (
            "durable_backlog_events",
            "Events that durable subscriptions are owed, of all of them together.",
            sum(durable.owed for durable in durables),
        ),
        (
            "durable_fill_ratio",
            "How full the fullest durable subscription is; at 1 its publishers wait.",
            max((durable.owed / durable.limits.max_durable_events for durable in durables), default=0.0),
        ),
        ("publishers_waiting", "Connections with a publish that waits for room.", waiting),
        ("unstored_bytes", "Bytes of events on their way to the store.", unstored),
    ):
        yield gauge(f"bus_{name}", doc, value)
    yield counter("bus_published_total", "Events that were published.", broker.published)
    doc = "Events that best-effort subscriptions lost because nobody took them."
    yield counter("bus_dropped_total", doc, broker.dropped.count)
    doc = "Events of the suite's own that were dropped where others would have had to wait."
    yield counter("bus_internal_dropped_total", doc, internal_dropped)


def overview(broker: Broker, waiting: int) -> Mapping[str, object]:
    """For people: the durable subscriptions that are owed most."""
    durables = nlargest(_SHOWN, broker.durables.values(), key=lambda durable: durable.owed)
    shown = [
        {
            "name": durable.name,
            "pattern": durable.pattern,
            "owed": durable.owed,
            "limit": durable.limits.max_durable_events,
            "consumers": len(durable.consumers),
        }
        for durable in durables
    ]
    return {
        "published": broker.published,
        "dropped": broker.dropped.count,
        "publishers_waiting": waiting,
        "durables": len(broker.durables),
        "shown": shown,
    }
