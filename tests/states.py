"""How the diagrams of connections are held against what a server does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen

from tests.test_documentation import of_docs

Case = Any  # a test case that has brought a connection into a state

SHORT = 0.5  # seconds


@frozen
class Passing:
    """An event: so much time passes as a setting says, which is made short for it. `first` is done before."""

    setting: str
    first: Callable[[Any], object] = lambda made: None

    def __call__(self, made: Any) -> None:
        self.first(made)
        made.said()
        made.case.clock.advance(SHORT + 0.01)


def check(case: Any, protocol: str, begin: Any, events: dict[str, Any]) -> None:
    """Hold every line of a protocol's table against what happens.

    `begin` makes a connection in a state: an object with `said`, which tells what the server has said
    since it was asked last, and `is_in`, whether it is in a state. `events` do one thing each.
    """
    states, rows = of_docs("states").table(protocol)
    case.assertEqual({event for _, event, _, _ in rows}, set(events))
    case.assertEqual({state for row in rows for state in (row[0], row[3])}, set(states))
    for before, event, says, after in rows:
        happening = events[event]
        changes = {happening.setting: SHORT} if isinstance(happening, Passing) else {}
        if hasattr(type(case), "config"):
            case.config = evolve(type(case).config, **changes)
        case.setUp()
        made = begin(case, before)
        case.assertTrue(made.is_in(before), (before, event))
        made.said()
        happening(made)
        row = (before, event, says, after)
        case.assertEqual((before, event, made.said(), after), row)
        case.assertTrue(made.is_in(after), row)
        case.doCleanups()
