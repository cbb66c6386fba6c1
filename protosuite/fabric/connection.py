"""One connection to a Redis: commands that are answered in time, or end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import txredisapi
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from protosuite.fabric.address import Address, Host
from protosuite.fabric.interface import Away

Word = str | bytes | int
Push = Callable[[list[Any]], None]

# Errors after which another connection may do better: another Redis is the master, or this one is not ready.
_FATAL = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "WRONGPASS", "MISCONF")
_PUSHES = (b"message", b"subscribe", b"unsubscribe")
_END = b"-----END CERTIFICATE-----"
_MOST_SAID = 200  # characters of an error


class Refused(Exception):
    """Redis answered a command with an error. It has not been done."""


class Connection(txredisapi.RedisProtocol):  # type: ignore[misc]  # it has no types
    """Its answers are bytes and numbers. With `on_push` it is one that subscribes."""

    def __init__(self, clock: Any, timeout: float, on_push: Push | None = None) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.ended: Deferred[None] = Deferred()
        self._clock = clock
        self._timeout = timeout
        self._on_push = on_push
        self._end = "the connection is closed"  # why it has ended, for a person

    def command(self, *words: Word) -> Deferred[Any]:
        """The answer. Fails with :exc:`Refused`, or with :exc:`Away`: then it may have been done or not.

        A connection on which an answer is overdue is given up, with everything that waits on it.
        """
        try:
            answer: Deferred[Any] = self.execute_command(*words)
        except txredisapi.RedisError:
            return fail(Away(self._end))
        return answer.addTimeout(self._timeout, self._clock).addErrback(self._failed)

    def tell(self, *words: Word) -> None:
        """Send a command whose answers are pushed."""
        if self.connected:
            self.transport.write(self._build_command(*words))

    def abort(self) -> None:
        """Close it at once."""
        if self.transport is not None:
            self.transport.abortConnection()

    def replyReceived(self, reply: Any) -> None:
        if self._on_push is not None and isinstance(reply, list) and reply and reply[0] in _PUSHES:
            self._on_push(reply)
        elif self.replyQueue.waiting:
            super().replyReceived(reply)
        else:
            self.abort()  # an answer to nothing: what speaks there is no Redis, or none of ours

    def connectionLost(self, why: Failure = connectionDone) -> None:
        self._end = "the connection was lost"
        if not why.check(ConnectionDone, ConnectionLost):
            self._end += f": {why.getErrorMessage()[:_MOST_SAID]}"  # a certificate that is not good
        super().connectionLost(why)
        if not self.ended.called:
            self.ended.callback(None)

    def _failed(self, failure: Failure) -> Any:
        if failure.check(DeferredTimeout):
            self.abort()
            raise Away(f"no answer within {self._timeout:g} s")
        if failure.check(txredisapi.ResponseError):
            said = str(failure.value)[:_MOST_SAID]
            if said.startswith(_FATAL):
                self.abort()
                raise Away(said)
            raise Refused(said)
        if failure.check(txredisapi.RedisError):
            raise Away(self._end)
        return failure


async def dial(
    reactor: Any, host: Host, address: Address, timeout: float, on_push: Push | None = None
) -> Connection:
    """A new connection to one of the hosts that `address` speaks of. Raises :exc:`Away`.

    Cancelled, it raises `CancelledError`, wherever it is: whoever dials one host after the other has to end.
    """
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, *host, timeout=timeout)
    factory: Any = Factory.forProtocol(lambda: Connection(reactor, timeout, on_push))
    factory.noisy = False
    try:
        if address.is_tls:
            endpoint = wrapClientTLS(_tls(host[0], address), endpoint)
        connection: Connection = await _opened(endpoint, factory).addTimeout(timeout, reactor)
    except CancelledError:
        raise
    except Exception as error:  # whatever the network or a certificate has against it
        raise Away(_why(error, timeout)) from None
    return connection


def _opened(endpoint: IStreamClientEndpoint, factory: Any) -> Deferred[Any]:
    """The connection. Cancelled it says so, where the endpoint tells of a failure, or of an unknown name."""
    opening: Deferred[Any] = endpoint.connect(factory)
    opened: Deferred[Any] = Deferred()  # without a canceller: what `opening` says afterwards is not heard
    opening.chainDeferred(opened)

    def failed(failure: Failure) -> Failure:
        opening.cancel()  # does nothing where that is what has failed
        return failure

    return opened.addErrback(failed)


def _why(error: Exception, timeout: float) -> str:
    if isinstance(error, DeferredTimeout):
        return f"no connection within {timeout:g} s"
    number = getattr(error, "osError", None)
    return f"no connection: {error}" if number is None else f"no connection (error {number})"


def _tls(name: str, address: Address) -> Any:
    from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates

    if address.authorities is None:
        return optionsForClientTLS(name)
    pems = address.authorities.read_bytes().split(_END)[:-1]  # what is between them may be in any language
    roots = [Certificate.loadPEM(pem + _END + b"\n") for pem in pems]
    return optionsForClientTLS(name, trustRoot=trustRootFromCertificates(roots))
