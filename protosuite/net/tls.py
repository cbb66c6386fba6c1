"""The endpoint ``protosuite-tls:``: TLS that serves renewed certificates, and may ask its peers for theirs.

``protosuite-tls:8443:interface=127.0.0.1:cert=PATH:key=PATH`` is ``tcp:`` with TLS. Another endpoint in the
place of the port is wrapped instead: ``protosuite-tls:systemd:domain=INET:name=numbers:cert=PATH:key=PATH``.
With ``client_ca=PATH`` only a peer gets in that shows a certificate signed by one of those in that file.

Nothing here needs the ``tls`` extra before such an endpoint is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer

from protosuite.errors import StartError
from protosuite.net.proxied import PROXIED, server_from_string

PREFIX = "protosuite-tls"

_OWN = ("cert", "key", "client_ca")
_PART = re.compile(r"(?:[^\\:]|\\.)*", re.DOTALL)
_NAMED = re.compile(r"((?:[^\\=]|\\.)*)=(.*)", re.DOTALL)


def parse(reactor: Any, *arguments: str, **named: str) -> TLSEndpoint:
    """The endpoint for what stands behind the prefix. Reads the files; :exc:`StartError` if one is wrong."""
    for name in ("cert", "key"):
        if not named.get(name):
            raise StartError(f"{name}= is missing: give the path of a PEM file")
    if named.get("client_ca") == "":  # or a slip would let everybody in
        raise StartError("client_ca= is empty: give the path of a PEM file, or leave it out")
    inner = server_from_string(reactor, _inner(arguments, named))
    try:
        from protosuite.net.certificates import Handshakes, Renewing  # with pyOpenSSL, which is an extra
    except ImportError as error:
        raise StartError(f"TLS needs more ({error}): pip install 'protosuite[tls]'") from None
    ca = named.get("client_ca")
    certificates = Renewing(Path(named["cert"]), Path(named["key"]), None if ca is None else Path(ca))
    return TLSEndpoint(inner, lambda factory: Handshakes(certificates, factory, reactor))


@implementer(IStreamServerEndpoint)
class TLSEndpoint:
    """Another endpoint with TLS on it."""

    def __init__(self, inner: Any, wrap: Callable[[IProtocolFactory], IProtocolFactory]) -> None:
        self._inner = inner
        self._wrap = wrap

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen. Protocols begin when a peer connects; nothing reaches them before the handshake is done."""
        listening: Deferred[IListeningPort] = self._inner.listen(self._wrap(protocolFactory))
        return listening


def _inner(arguments: Sequence[str], named: Mapping[str, str]) -> str:
    """The endpoint that is wrapped."""
    words = list(arguments)
    if not words or words[0].isdecimal():
        words.insert(0, "tcp")
    words = [quoteStringArgument(word) for word in words]
    words += [f"{name}={quoteStringArgument(value)}" for name, value in named.items() if name not in _OWN]
    return ":".join(words)


def demands_certificate(endpoint: str) -> bool:
    """Whether an endpoint lets only peers in that show a certificate we know. Nothing is opened for this."""
    return PREFIX in _layers(endpoint) and bool(_read(endpoint)[1].get("client_ca"))


def is_proxied(endpoint: str) -> bool:
    """Whether connections of an endpoint say first where they come from (the PROXY protocol)."""
    return PROXIED in _layers(endpoint)


def innermost(endpoint: str) -> tuple[list[str], dict[str, str]]:
    """What listens below the wrappers of an endpoint: its kind and other words; and all named values."""
    arguments, named = _read(endpoint)
    words = arguments[len(_layers(endpoint)) :]
    if not words or words[0].isdecimal():
        words.insert(0, "tcp")
    return words, named


def _layers(endpoint: str) -> list[str]:
    """The endpoints around the innermost one."""
    words = [word.lower() for word in _read(endpoint)[0]]
    return list(takewhile((PREFIX, PROXIED).__contains__, words))


def _read(endpoint: str) -> tuple[list[str], dict[str, str]]:
    """The words of an endpoint and its named values, as Twisted reads them."""
    arguments: list[str] = []
    named: dict[str, str] = {}
    at = 0
    while at <= len(endpoint):
        match = _PART.match(endpoint, at)
        assert match is not None, "it may be empty"
        if value := _NAMED.fullmatch(match[0]):
            named[_unquoted(value[1])] = _unquoted(value[2])
        else:
            arguments.append(_unquoted(match[0]))
        at = match.end() + 1
    return arguments, named


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
