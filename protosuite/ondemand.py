"""Names of a package that are imported when somebody asks for them: a server needs no clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def on_demand(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """A ``__getattr__`` for `package`, where `homes` has the module of each name that it offers.

    For type checkers the package imports the names as ever, below ``if TYPE_CHECKING``: then they know what
    each is, and that there is no other.
    """

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return find
