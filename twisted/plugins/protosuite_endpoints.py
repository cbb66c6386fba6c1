"""The endpoints that Twisted finds in protosuite. Nothing is imported until one is asked for."""

from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamServerEndpointStringParser)
class _TLS:
    """``protosuite-tls:``, see :mod:`protosuite.net.tls`."""

    prefix = "protosuite-tls"

    def parseStreamServer(self, reactor, *arguments, **named):
        from protosuite.net.tls import parse

        return parse(reactor, *arguments, **named)


tls = _TLS()
