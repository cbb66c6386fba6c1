"""What an endpoint string says about its peers; that it means the same here and to Twisted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import endpoints
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from protosuite.errors import StartError
from protosuite.net import tls
from protosuite.net.listening import server_endpoint
from protosuite.net.tls import demands_certificate, is_proxied

FILES = "cert=/c.pem:key=/k.pem"
WORDS = st.text(r"\:=ab1é ", max_size=8)


class EndpointTests(SynchronousTestCase):
    """Endpoint strings, nothing of which is opened."""

    def test_demands_certificate(self) -> None:
        """Only an endpoint of ours with an authority for clients demands certificates."""
        for endpoint in (
            f"protosuite-tls:8443:{FILES}:client_ca=/ca.pem",
            "Protosuite-TLS:client_ca=/ca.pem:8443:cert=c:key=k",
            f"haproxy:protosuite-tls:8443:{FILES}:client_ca=/ca.pem",
            f"protosuite-tls:haproxy:tcp:8443:{FILES}:client_ca=/ca.pem",
            f"protosuite-tls:unix:/run/a:{FILES}:client_ca=\\:=",
        ):
            self.assertTrue(demands_certificate(endpoint), endpoint)
        for endpoint in (
            f"protosuite-tls:8443:{FILES}",
            f"protosuite-tls:8443:{FILES}:client_ca=",
            f"protosuite-tls:8443:{FILES}:client_ca=/ca.pem:client_ca=",
            f"protosuite-tls:8443:{FILES}\\:client_ca=/ca.pem",
            f"protosuite-tls:8443:{FILES}:client_ca\\=/ca.pem",
            "tcp:8443:client_ca=/ca.pem",
            "tcp:protosuite-tls:client_ca=/ca.pem",
            "unix:protosuite-tls\\:8443\\:client_ca=/ca.pem",
            "ssl:8443:privateKey=protosuite-tls:client_ca=x",
            "",
        ):
            self.assertFalse(demands_certificate(endpoint), endpoint)

    def test_is_proxied(self) -> None:
        """The PROXY protocol is expected where it is asked for, around TLS or within it."""
        for endpoint in ("haproxy:tcp:1", "HAProxy:unix:a", f"protosuite-tls:haproxy:tcp:1:{FILES}"):
            self.assertTrue(is_proxied(endpoint), endpoint)
        for endpoint in (
            "tcp:1",
            "unix:haproxy",
            "tcp:1:haproxy",
            f"protosuite-tls:1:{FILES}:interface=haproxy",
        ):
            self.assertFalse(is_proxied(endpoint), endpoint)

    @given(st.lists(st.one_of(WORDS.map(quoteStringArgument), WORDS), max_size=5).map(":".join))
    def test_read_as_twisted_does(self, endpoint: str) -> None:
        """What is read from an endpoint is what Twisted hands to its plugin."""
        try:
            words, named = endpoints._parse(endpoint)
        except (UnicodeEncodeError, RuntimeError):
            return  # a name that is not ASCII, a backslash at the end: no endpoint
        self.assertEqual(tls._read(endpoint), (words, named))

    def test_mistakes(self) -> None:
        """What is missing, or was left empty by mistake, is named before any file is opened."""
        for endpoint, said in (
            ("protosuite-tls:8443:key=k", "cert= is missing"),
            ("protosuite-tls:8443:cert=c", "key= is missing"),
            ("protosuite-tls:8443:cert=c:key=", "key= is missing"),
            ("protosuite-tls:8443:cert=c:key=k:client_ca=", "client_ca= is empty"),
            ("protosuite-tls:tpc:8443:cert=c:key=k", "Unknown endpoint type: 'tpc'"),
            ("protosuite-tls:systemd:domain=INET:name=a:cert=c:key=k", "has passed no such socket"),
        ):
            with self.assertRaises(StartError) as caught:
                server_endpoint(MemoryReactorClock(), "numbers", endpoint)
            self.assertIn(f"[numbers] listen = {endpoint}: not a usable endpoint (", str(caught.exception))
            self.assertIn(said, str(caught.exception))
