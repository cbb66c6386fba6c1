"""Diagrams of what a connection does, from `states.toml`: a column a state, an arrow a line of the table."""

import tomllib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

TABLES = Path(__file__).parent / "states.toml"

COLUMN, ROW, TOP = 190, 40, 56  # pixels
WIDTH = 960  # of the page, at three quarters; many columns are narrower, down to a box and its gap
LOOP = 26

Row = tuple[str, str, str, str]


class States(SphinxDirective):
    """The diagram of a protocol. In what is not HTML it is a list."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(TABLES))
        states, rows = table(self.arguments[0])
        drawn = nodes.raw("", "\n".join(_svg(self.arguments[0], states, rows)), format="html")
        return [nodes.container("", drawn, classes=["states"])]


class Drawing(SphinxDirective):
    """An SVG from a file, within the page, so that it has the page's colours."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(name)
        drawn = nodes.raw("", Path(path).read_text("utf-8"), format="html")
        return [nodes.container("", drawn, classes=["drawing"])]


def table(protocol: str) -> tuple[list[str], list[Row]]:
    """The states of a protocol, and what happens in them."""
    found = tomllib.loads(TABLES.read_text("utf-8"))[protocol]
    return found["states"], [tuple(row) for row in found["rows"]]


def _svg(protocol: str, states: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    column = max(156, min(COLUMN, WIDTH // len(states)))
    width, height = column * len(states), TOP + ROW * len(rows) + 12
    said = "; ".join(
        f"{before}: {event}, {says or 'nothing'} said, then {after}" for before, event, says, after in rows
    )
    yield f'<svg viewBox="0 0 {width} {height}" style="min-width: {width * 3 // 4}px; max-width: {width}px"'
    yield f' role="img" aria-label="{escape(said)}">'
    yield f'<defs><marker id="tip-{protocol}" viewBox="0 0 8 8" refX="8" refY="4" orient="auto"'
    yield ' markerWidth="8" markerHeight="8"><path d="M0 0 8 4 0 8Z" fill="currentColor"/></marker></defs>'
    places = {state: column // 2 + column * number for number, state in enumerate(states)}
    for state, x in places.items():
        yield f'<path class="life" d="M{x} 34V{height}"/>'
        yield f'<rect x="{x - 74}" y="4" width="148" height="30" rx="6"/>'
        yield f'<text class="state" x="{x}" y="24" text-anchor="middle">{escape(state)}</text>'
    for number, (before, event, says, after) in enumerate(rows):
        yield from _arrow(protocol, places[before], places[after], TOP + ROW * number + 22, event, says)
    yield "</svg>"


def _arrow(protocol: str, begin: int, end: int, y: int, event: str, says: str) -> Iterator[str]:
    tip = f'marker-end="url(#tip-{protocol})"'
    label = escape(event) + (f'<tspan class="says" dx="6">{escape(says)}</tspan>' if says else "")
    if begin == end:
        yield f'<path d="M{begin} {y - 9}h{LOOP - 8}q8 0 8 8t-8 8h-{LOOP - 10}" {tip}/>'
        yield f'<text x="{begin + LOOP + 8}" y="{y + 3}">{label}</text>'
    else:
        yield f'<circle cx="{begin}" cy="{y}" r="3"/>'
        yield f'<path d="M{begin} {y}H{end + (2 if end < begin else -2)}" {tip}/>'
        yield f'<text x="{min(begin, end) + 8}" y="{y - 6}">{label}</text>'
