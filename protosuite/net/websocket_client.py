"""A WebSocket client's connection: the handshake, and then a talk."""

from __future__ import annotations

import json
from typing import Any
from typing import Protocol as Interface
from urllib.parse import urlsplit

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.http11 import Response
from websockets.protocol import CONNECTING
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from protosuite.errors import ServerRefused
from protosuite.net.reconnect import CONNECT_TIMEOUT
from protosuite.net.websocket import UNAUTHENTICATED, Limits, Talk, WebSocket
from protosuite.net.websocket_rules import ClientRules, max_size, silent


class WebSocketClient(Protocol):
    """One connection to the server of `url`; `talk` begins when the server has agreed to `subprotocol`.

    If it does not, or has not within `handshake_timeout` seconds, :attr:`refusal` says why when the
    connection is gone, and `talk` has not heard a word. A server that names no subprotocol speaks ours.

    `token` says who one is. A server that does not take it, or whom it does not allow this, has a
    :attr:`denial`, which trying again would not change.
    """

    transport: Any

    def __init__(
        self,
        url: str,
        subprotocol: str,
        clock: IReactorTime,
        limits: Limits,
        talk: Talk,
        handshake_timeout: float = 10.0,
        token: str | None = None,
    ) -> None:
        self.refusal = ""
        self.denial: ServerRefused | None = None
        self._token = token
        self._rules = ClientRules(
            parse_uri(url),
            subprotocols=[Subprotocol(subprotocol)],
            max_size=max_size(limits.max_message),
            logger=silent,
        )
        self._clock = clock
        self._limits = limits
        self._talk = talk
        self._handshake_timeout = handshake_timeout
        self._overdue: IDelayedCall | None = None
        self._socket: WebSocket | None = None

    def connectionMade(self) -> None:
        self._overdue = self._clock.callLater(self._handshake_timeout, self._too_late)
        self._socket = WebSocket(
            self._rules, self.transport, self._clock, self._limits, self._talk, self.transport.loseConnection
        )
        request = self._rules.connect()
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        self._rules.send_request(request)
        self.transport.writeSequence(self._rules.data_to_send())

    def dataReceived(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.received(data)
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._rules.state is CONNECTING:
            self._rules.receive_eof()  # an answer without a length ends here
        self._look()
        if self._socket is not None:
            self._socket.lost()

    def _look(self) -> None:
        """See whether the server has answered the handshake, and how."""
        if self._overdue is not None and self._rules.handshake_exc is not None:
            self.refusal = _why(self._rules.handshake_exc)
            self.denial = _denial(self._rules.handshake_exc)
        if self._rules.handshake_exc is not None or self._rules.state is not CONNECTING:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._overdue is not None and self._overdue.active():
            self._overdue.cancel()
        self._overdue = None

    def _too_late(self) -> None:
        self._overdue = None
        self.refusal = "the server did not answer the handshake"
        self.transport.abortConnection()


def _why(error: Exception) -> str:
    """Why the handshake failed, in one line for a person."""
    if isinstance(error, InvalidStatus):
        response = error.response
        detail = _detail(response)
        return f"the server answered {response.status_code} {response.reason_phrase}" + (
            f" ({detail})" if detail else ""
        )
    if isinstance(error, InvalidMessage) and isinstance(error.__cause__, EOFError):
        return "the server closed the connection before it had answered the handshake"
    return f"the server does not speak this protocol ({error})"


_DENIALS = {401: "unauthenticated", 403: "forbidden"}


def _denial(error: Exception) -> ServerRefused | None:
    if not isinstance(error, InvalidStatus) or error.response.status_code not in _DENIALS:
        return None
    detail = _detail(error.response) or "the server does not let us in"
    return ServerRefused(_DENIALS[error.response.status_code], detail)


def _detail(response: Response) -> str:
    """What an answer says for a person, in one line."""
    text = bytes(response.body or b"").decode("utf-8", "replace").strip()
    try:
        fields = json.loads(text)
        text = str(fields["detail"])
    except (ValueError, TypeError, KeyError, RecursionError):
        pass  # it is no problem+json
    return " ".join(text.split())[:200]


def ended_by(code: int, reason: str) -> ServerRefused | None:
    """Why a connection that was closed with `code` is not to be opened again; None if it may be."""
    if code != UNAUTHENTICATED:
        return None
    return ServerRefused("unauthenticated", reason or "the token is no longer good")


class HasUrl(Interface):
    """A factory of such connections: an ``IProtocolFactory``, for ``connectTCP`` and ``connectSSL``."""

    url: str


def server_url(host: str, port: int, path: str, secure: bool = False) -> str:
    """The URL of a WebSocket."""
    name = f"[{host}]" if ":" in host else host
    return f"{'wss' if secure else 'ws'}://{name}:{port}/{path}"


def connect(reactor: Any, factory: HasUrl, timeout: float = CONNECT_TIMEOUT) -> None:
    """Connect `factory` to the server of its URL, with TLS if that begins with ``wss``."""
    parts = urlsplit(factory.url)
    host = parts.hostname or ""
    if parts.scheme == "wss":
        from twisted.internet.ssl import optionsForClientTLS

        reactor.connectSSL(host, parts.port or 443, factory, optionsForClientTLS(host), timeout=timeout)
    else:
        reactor.connectTCP(host, parts.port or 80, factory, timeout=timeout)
