"""Services that come in packages of their own: found by name, and only when something names them.

Such a package has an entry point in the group ``protosuite.services``. Its name is the service's, and that of
its section; what it points to is an :class:`Extension`. To look at what is installed takes longer than all
else that a start does, so nothing does it for the services that come with the suite.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "protosuite.services"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")  # of a service: it is in metrics, topics and variables


class BadExtension(Exception):
    """There is such a service, and it cannot be used. The text is one line that says why."""


@frozen
class Migrations:
    """Tables of a service's own: an Alembic folder of versions, whose newest revision is `head`.

    They are applied at the start, in one transaction, and counted in a table of their own.
    """

    folder: Path
    head: str


@frozen
class Extension:
    """What the suite needs to know of a service.

    `config` is its section: a frozen class on :class:`~protosuite.config.ServiceConfig`, all of whose
    settings have defaults. `make` is called with such a section and the :class:`~protosuite.suite.Shared`,
    and answers with a :class:`~protosuite.net.listening.ListeningService` of the service's name. `has_tokens`
    says that whoever uses the service must present a token where ``[auth]`` is on; without it, it does not
    start where strangers can reach it.
    """

    config: type
    make: Callable[[Any, Any], Any]
    has_tokens: bool = False
    migrations: Migrations | None = None


@frozen
class Extended:
    """One of them as a configuration has it: by its name, with its section."""

    name: str
    extension: Extension
    config: Any


def find(name: str) -> Extension | None:
    """The service of that name among what is installed; None if there is none. :exc:`BadExtension`."""
    if not _NAME.fullmatch(name):
        return None
    found = _installed().get(name, ())
    if not found:
        return None
    if len(found) > 1:
        packages = " and ".join(sorted(map(_package, found)))
        raise BadExtension(f"{packages} both bring a service {name}: uninstall one of them")
    return _load(found[0])


def is_name(text: str) -> bool:
    """Whether a service may be called so."""
    return _NAME.fullmatch(text) is not None


@cache
def _installed() -> Mapping[str, list[EntryPoint]]:
    from importlib.metadata import entry_points  # not for those who need none

    return by_name(entry_points(group=GROUP))


def by_name(points: Iterable[EntryPoint]) -> Mapping[str, list[EntryPoint]]:
    """Entry points by their names. One package that is found twice, as in a checkout, counts once."""
    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for point in points:
        found.setdefault(point.name, {})[_package(point), point.value] = point
    return {name: list(each.values()) for name, each in found.items()}


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown package"


def _load(point: EntryPoint) -> Extension:
    try:
        extension = point.load()
    except Exception as error:  # another's code: it may fail in any way
        reason = str(error).partition("\n")[0]
        raise BadExtension(
            f"the service {point.name} of the package {_package(point)} cannot be loaded "
            f"({type(error).__name__}: {reason})"
        ) from error
    if not isinstance(extension, Extension):
        raise BadExtension(
            f"the service {point.name} of the package {_package(point)} cannot be used: "
            f"{point.value} is no protosuite.extending.Extension"
        )
    return extension
