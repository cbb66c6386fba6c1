"""How a client program reaches its server: the options that say so, and what it says when nobody answers."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IProtocolFactory

from protosuite import program
from protosuite.net.reconnect import CONNECT_TIMEOUT
from protosuite.program import Failed, say

HOST = "127.0.0.1"  # of the server, if nobody says another one
TOKEN_VARIABLE = "PROTOSUITE_TOKEN"
NO_GOOD_TOKEN = f"give a good token: --token-file, or {TOKEN_VARIABLE} in the environment"  # what to do
ABSENCE = 5.0  # seconds without the server after which a program says that it still tries

T = TypeVar("T")


def add_server(parser: ArgumentParser, port: int) -> None:
    """The options that say which server to use."""
    parser.add_argument("--host", default=HOST, help="host of the server (default: %(default)s)")
    port_number = program.bounded(1, 65_535)
    parser.add_argument("--port", default=port, type=port_number, help="its port (default: %(default)s)")


def add_tls(parser: ArgumentParser) -> None:
    """The option for a server that is reached with TLS."""
    parser.add_argument("--tls", action="store_true", help="connect with TLS, and verify the server's name")


@contextmanager
def needing_tls() -> Iterator[None]:
    """Within it, what TLS needs is imported. :exc:`Failed` where that is not installed."""
    try:
        yield
    except ImportError as error:
        raise Failed(f"--tls needs more ({error}): pip install 'protosuite[tls]'") from None


def add_timeout(parser: ArgumentParser, meaning: str = "give up after S seconds without an answer") -> None:
    """The option for how long the person waits. `meaning` says for what, where that is not each answer."""
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=program.positive_seconds,
        default=30.0,
        help=f"{meaning} (default: %(default)g)",
    )


def add_token(parser: ArgumentParser) -> None:
    """The option for a token: never the token itself, for all users of a machine can see command lines."""
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help=f"the token in FILE says who one is (default: the variable {TOKEN_VARIABLE}, or none)",
    )


def token(arguments: Namespace) -> str | None:
    """The token of :func:`add_token`'s option, or of the environment. Raises :exc:`Failed`."""
    path: Path | None = arguments.token_file
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        text = path.read_text("ascii").strip()
    except OSError as error:
        raise Failed(f"cannot read the token in {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not text or len(text.split()) != 1:
        raise Failed(f"{path} does not hold one token")
    return text


def subject(token: str | None) -> str | None:
    """Whom a token says that it is for, which is for the server to believe; None if that cannot be seen."""
    try:
        payload = (token or "").split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        found = claims["sub"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def connect(reactor: Any, arguments: Namespace, factory: IProtocolFactory) -> None:
    """Connect `factory` to the server."""
    reactor.connectTCP(arguments.host, arguments.port, factory, timeout=CONNECT_TIMEOUT)


async def within(reactor: Any, arguments: Namespace, answer: Deferred[T]) -> T:
    """An answer, within the time that the person has; :exc:`Failed` after that."""
    try:
        return await answer.addTimeout(arguments.timeout, reactor)
    except DeferredTimeout:
        raise _late(arguments) from None


def _late(arguments: Namespace, why: str = "") -> Failed:
    return Failed(f"no answer from {_server(arguments)} within {arguments.timeout:g} s{why}")


def _server(arguments: Namespace) -> str:
    return f"{arguments.host}:{arguments.port}"


class Absence:
    """That the server is not there, as a person hears of it: a line, once, when it has lasted for a while.

    A program that waits with a limit keeps silent about each attempt where standard error is no terminal;
    without a word it would seem to hang. `name` is the program's, `arguments` say which server that is,
    `is_there` whether there is a connection to it that is of use. `show` writes the line.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        arguments: Namespace,
        is_there: Callable[[], bool],
        show: Callable[[str], None] = say,
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._arguments = arguments
        self._is_there = is_there
        self._show = show
        self._trouble = ""  # what was said about the connection last
        self._is_known = False  # the person has heard of it
        self._is_looking = False
        self._look_later()

    def status(self, text: str, is_shown: bool) -> None:
        """Something about the connection, which the person can read if it `is_shown`."""
        self._trouble = text.partition(";")[0]
        self._is_known = self._is_known or is_shown
        self._look_later()

    def over(self) -> None:
        """Nobody waits any more. Fit for a signal's handler."""
        self._is_known = True

    def late(self) -> Failed:
        """There was no answer for as long as the person waits."""
        why = f" ({self._trouble})" if self._trouble and not self._is_there() else ""
        return _late(self._arguments, why)

    def _look_later(self) -> None:
        if not self._is_looking and not self._is_known:
            self._is_looking = True
            self._reactor.callLater(ABSENCE, self._tell)

    def _tell(self) -> None:
        self._is_looking = False
        if not self._is_known and not self._is_there():
            self._is_known = True
            why = f": {self._trouble}" if self._trouble else ""
            server = _server(self._arguments)
            self._show(f"{self._name}: {server} cannot be reached so far{why}; still trying")
