"""The page of metrics: what a suite tells of itself, asked of one in memory that has not been started."""

import tempfile
from pathlib import Path

from attrs import evolve
from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from twisted.internet.testing import MemoryReactorClock

from protosuite.admin.metrics import PREFIX
from protosuite.config import Config
from protosuite.figures import Figure
from protosuite.suite import Suite


class Metrics(SphinxDirective):
    """Every metric, with its kind, its labels and what it means."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(_table(told())))


class _Reactor(MemoryReactorClock):
    def callFromThread(self, call, *arguments):
        call(*arguments)


def told() -> list[Figure]:
    """All figures of a suite with every service, each once."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config()
        suite = Suite(evolve(config, suite=evolve(config.suite, data=str(Path(folder) / "data"))), _Reactor())
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
