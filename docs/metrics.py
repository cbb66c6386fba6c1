"""The page of metrics: what suites tell of themselves, asked of some in memory that have not been started."""

import tempfile
from pathlib import Path
from typing import ClassVar

from attrs import evolve
from docutils import nodes
from docutils.parsers.rst.directives import flag
from sphinx.util.docutils import SphinxDirective
from twisted.internet.testing import MemoryReactorClock

from protosuite.admin.metrics import PREFIX
from protosuite.config import Config
from protosuite.figures import Figure
from protosuite.suite import Suite

SEVERAL_NODES = "redis://127.0.0.1"


class Metrics(SphinxDirective):
    """Every metric of a suite alone, with its kind, labels and meaning; or those that only nodes have."""

    option_spec: ClassVar = {"of-nodes": flag}

    def run(self) -> list[nodes.Node]:
        figures = of_nodes() if "of-nodes" in self.options else told()
        return self.parse_text_to_nodes("\n".join(_table(figures)))


class _Reactor(MemoryReactorClock):
    def callFromThread(self, call, *arguments):
        call(*arguments)


def of_nodes() -> list[Figure]:
    """Those that there are only where nodes hear of each other."""
    alone = {figure.name for figure in told()}
    return [figure for figure in told(SEVERAL_NODES) if figure.name not in alone]


def told(fabric: str = "local") -> list[Figure]:
    """All figures of a suite with every service, each once."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config()
        own = evolve(config.suite, data=str(Path(folder) / "data"), fabric=fabric)
        media = evolve(config.mediachat, media="s3://bucket")  # which has figures of its own
        suite = Suite(evolve(config, suite=own, mediachat=media), _Reactor())
        suite.privilegedStartService()
        [admin] = [service for service in suite.services if service.name == "admin"]
        return list({figure.name: figure for figure in admin.suite.figures()}.values())


def _table(figures):
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: 38 10 14 38", "")
    yield from ("   * - Name", "     - Kind", "     - Labels", "     - Meaning")
    for figure in sorted(figures, key=lambda figure: ("service" not in figure.labels, figure.name)):
        yield f"   * - ``{PREFIX}{figure.name}``"
        yield f"     - {figure.kind.value}"
        yield f"     - {', '.join(f'``{label}``' for label in figure.labels)}"
        yield f"     - {figure.doc}"
