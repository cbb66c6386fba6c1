"""HTTP and the handshake of WebSockets, on one connection."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode

from protosuite.net.handshake import is_allowed
from protosuite.net.http import MAX_BODY
from protosuite.test.web_peers import (
    CLOSE_TIMEOUT,
    IDLE_TIMEOUT,
    REQUEST_TIMEOUT,
    Served,
    close,
    frame,
    handshake,
    text,
)

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"


def post(size: int, sent: bytes) -> bytes:
    """A request with a body of `size` bytes, of which some come."""
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (size, sent)


class HandshakeTests(SynchronousTestCase):
    """Who gets a WebSocket, and what the others are told."""

    def refused(self, request: bytes, *, origins: tuple[str, ...] = ()) -> tuple[int, bytes]:
        """The status and the whole of the answer to a handshake after which HTTP goes on."""
        served = Served(self, origins=origins)
        peer = served.connect()
        peer.send(request)
        answer = peer.take()
        self.assertEqual(served.talks, [])
        return int(answer.split(b" ", 2)[1]), answer

    def test_accepted(self) -> None:
        """A client that offers the subprotocol among others gets it, with the key's answer."""
        peer = Served(self).connect()
        peer.send(handshake(b"Sec-WebSocket-Protocol: other, echo"))
        head = peer.take_head()
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        self.assertIn(b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", head)
        self.assertIn(b"\r\nSec-WebSocket-Protocol: echo\r\n", head)
        self.assertNotIn(b"Extensions", head)

    def test_none_offered(self) -> None:
        """A client that offers no subprotocol is accepted, and none is named."""
        peer = Served(self).connect()
        peer.send(handshake())
        head = peer.take_head()
        self.assertIn(b" 101 ", head)
        self.assertNotIn(b"Protocol:", head)

    def test_wrong_subprotocol(self) -> None:
        """A client that offers only other subprotocols gets 400 and the name of ours."""
        status, answer = self.refused(handshake(b"Sec-WebSocket-Protocol: other, more"))
        self.assertEqual(status, 400)
        self.assertIn(b"echo", answer)

    def test_version(self) -> None:
        """Another version of the protocol gets 426 and the number of the right one."""
        status, answer = self.refused(handshake(b"Sec-WebSocket-Version: 8"))
        self.assertEqual(status, 426)
        self.assertIn(b"\r\nSec-Websocket-Version: 13\r\n".lower(), answer.lower())

    def test_defects(self) -> None:
        """What is no handshake gets the status that says so, and the connection goes on."""
        for status, request in {
            505: handshake(start=b"GET / HTTP/1.0"),
            405: handshake(start=b"DELETE / HTTP/1.1").replace(b"DELETE", b"HEAD"),
            400: handshake(without=b"Sec-WebSocket-Key"),
            426: handshake(b"Connection: keep-alive"),
        }.items():
            found, answer = self.refused(request)
            self.assertEqual(found, status, request)
            self.assertIn(f" {status} {HTTPStatus(status).phrase}\r\n".encode(), answer)
        for request in (
            handshake(without=b"Sec-WebSocket-Version"),
            handshake(b"Sec-WebSocket-Key: abc"),
            handshake(b"Sec-WebSocket-Key: " + b"A" * 24, b"Sec-WebSocket-Key: " + b"B" * 24),
            handshake(b"Origin: http://127.0.0.1:80", b"Origin: http://127.0.0.1:80"),
            handshake(b"Sec-WebSocket-Protocol: ,;"),
            handshake(b"X-Odd: a\x01b"),
        ):
            self.assertEqual(self.refused(request)[0], 400, request)

    def test_after_a_refusal(self) -> None:
        """After a refusal the same connection can still ask rightly."""
        served = Served(self)
        peer = served.connect()
        peer.send(handshake(b"Sec-WebSocket-Version: 8"))
        self.assertEqual(peer.status(), 426)
        peer.send(handshake() + text("x"))
        self.assertIn(b" 101 ", peer.take_head())
        self.assertEqual(peer.frames(), [("text", b"x")])

    def test_foreign_origins(self) -> None:
        """R22: pages of others get 403 and a text that names the setting."""
        for origin in (
            b"null",
            b"http://example.org",
            b"http://127.0.0.1.evil.org",
            b"http://127.0.0.1.evil.org:80",
            b"http://127.0.0.1:8080",
            b"file://127.0.0.1:80",
            b"http://[",
            b"",
        ):
            status, answer = self.refused(handshake(b"Origin: " + origin), origins=("https://chat.example",))
            self.assertEqual(status, 403, origin)
            self.assertIn(b"a setting `origins` says which may", answer)

    def test_rebinding(self) -> None:
        """R22: a page of the name by which it called us may connect only if that is no foreign name."""
        own = (b"Host: evil.org", b"Origin: http://evil.org")
        self.assertEqual(self.refused(handshake(*own))[0], 403)

    def test_own_origins(self) -> None:
        """Pages of ours may connect, by address or as localhost, and those that the setting names."""
        for host, origin in {
            b"127.0.0.1:80": b"http://127.0.0.1:80",
            b"[::1]:80": b"http://[::1]:80",
            b"LocalHost:80": b"https://localhost:80",
            b"chat.example": b"https://chat.example",
        }.items():
            Served(self, origins=("https://chat.example",)).open(b"Host: " + host, b"Origin: " + origin)

    def test_no_host(self) -> None:
        """Without Host no page is ours."""
        self.assertFalse(is_allowed("http://127.0.0.1", None, ()))

    def test_compression(self) -> None:
        """Compression is agreed upon where it is offered and switched on, and long texts are compressed."""
        peer = Served(self, compression=True).connect()
        peer.send(handshake(b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"))
        self.assertIn(b"server_max_window_bits=12; client_max_window_bits=12", peer.take_head())
        peer.send(text("x" * 1000) + text("short"))
        big, small = peer.frames()
        self.assertLess(len(big[1]), 50)
        self.assertEqual(small, ("text", b"short"))

    def test_page(self) -> None:
        """Without Upgrade the same resource serves its page."""
        peer = Served(self).connect()
        peer.send(GET)
        self.assertTrue(peer.take().endswith(b"\r\n\r\nthe page"))

    def test_later_request(self) -> None:
        """The second and third request of a connection can be the handshake."""
        for before in (1, 2):
            peer = Served(self).connect()
            for _ in range(before):
                peer.send(GET)
                self.assertEqual(peer.status(), 200)
            peer.send(handshake())
            self.assertIn(b" 101 ", peer.take_head())
            peer.send(text("x"))
            self.assertEqual(peer.frames(), [("text", b"x")])

    def test_every_cut(self) -> None:
        """R12: two requests, a handshake and frames in one stream say the same however it is cut."""
        stream = GET + GET + handshake(b"Sec-WebSocket-Protocol: echo")
        stream += text("grüß") + frame(Opcode.PING, b"p") + frame(Opcode.BINARY, b"12") + close(1000, "ok")
        ways = [[stream], [stream[i : i + 1] for i in range(len(stream))]]
        ways += [[stream[:i], stream[i:]] for i in range(1, len(stream))]
        for pieces in ways:
            served = Served(self)
            peer = served.connect()
            for piece in pieces:
                peer.send(piece)
            self.assertIn(b"the page", peer.take_head() + peer.take_head())
            self.assertIn(b" 101 ", peer.take_head().replace(b"the page", b""))
            expected = [("text", "grüß".encode()), ("pong", b"p"), ("binary", b"12"), ("close", 1000, "ok")]
            self.assertEqual(peer.frames(), expected)
            self.assertEqual(
                served.talk.heard[1:], [("text", "grüß"), ("binary", b"12"), ("ended", 1000, "ok")]
            )
            self.assertTrue(peer.pipe.lost)

    def test_upgrade_that_takes_time(self) -> None:
        """A resource may answer the handshake later: frames that came meanwhile are not lost."""
        served = Served(self)
        peer = served.connect()
        peer.send(handshake(start=b"GET /slow HTTP/1.1") + text("early"))
        peer.send(frame(Opcode.BINARY, b"x" * 20_000))
        self.assertFalse(peer.pipe.reading)  # that is enough before the answer
        served.root.answer(served.root.waiting[0])
        self.assertIn(b" 101 ", peer.take_head())
        peer.send(text("late"))
        self.assertEqual([kind for kind, _ in peer.frames()], ["text", "binary", "text"])

    def test_client_gone_before_the_answer(self) -> None:
        """A client that is gone when the answer to its handshake is known is no error."""
        served = Served(self)
        peer = served.connect()
        peer.send(handshake(start=b"GET /slow HTTP/1.1"))
        peer.pipe.lose(ConnectionError())
        served.root.answer(served.root.waiting[0])
        self.assertEqual(served.talks, [])

    def test_half_closed_before_the_answer(self) -> None:
        """A client that has closed its side when the answer to its handshake is known is let go at once."""
        served = Served(self)
        peer = served.connect()
        peer.send(handshake(start=b"GET /slow HTTP/1.1"))
        peer.finish()
        served.root.answer(served.root.waiting[0])
        self.assertIn(b" 101 ", peer.take_head())
        self.assertTrue(peer.pipe.lost)

    def test_half_closed_behind_another_request(self) -> None:
        """A handshake that waited behind a slow request, of a client that closed its side, is no error."""
        served = Served(self)
        peer = served.connect()
        peer.send(SLOW + handshake() + text("x"))
        peer.finish()
        served.root.answer(served.root.waiting[0])
        self.assertIn(b" 200 ", peer.take_head())
        self.assertTrue(peer.pipe.lost)
        self.assertEqual(served.talk.code, 1006)


class HttpTests(SynchronousTestCase):
    """Requests and answers, and clients that take their time."""

    def test_methods(self) -> None:
        """HEAD has the head only, what is not there is 404, a method that is not there 405."""
        served = Served(self)
        peer = served.connect()
        peer.send(GET.replace(b"GET", b"HEAD"))
        answer = peer.take()
        self.assertIn(b"Content-Length: 8\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\n"))
        served.root.render_POST = None  # type: ignore[assignment,method-assign]
        peer.send(post(0, b""))
        self.assertEqual(peer.status(), 405)
        served.root.isLeaf = False
        peer.send(GET.replace(b"/", b"/nothing", 1))
        self.assertEqual(peer.status(), 404)

    def test_targets(self) -> None:
        """R13: who asks for something that is no text of a URL gets 400, whatever the method."""
        for method in (b"GET", b"HEAD", b"POST", b"PUT", b"BREW"):
            for target in (b"/\xff", b"/?x=\xc3\xbc", b"/a\x7f", b"/a\x0b"):
                served = Served(self)
                served.root.render_POST = None  # type: ignore[assignment,method-assign]
                peer = served.connect()
                peer.send(method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
                self.assertEqual(peer.take().count(b"HTTP/1.1 400 "), 1, (method, target))
                self.assertTrue(peer.pipe.lost)

    def test_odd_requests_are_not_logged(self) -> None:
        """R29: no request of a stranger is worth a line of its own."""
        heard: list[Any] = []
        hear: Any = heard.append
        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        served = Served(self)
        for method in (b"HEAD", b"PUT", b"OPTIONS", b"BREW"):
            served.connect().send(GET.replace(b"GET", method))
        self.assertEqual(heard, [])

    def test_body(self) -> None:
        """A body up to the limit is taken."""
        served = Served(self)
        peer = served.connect()
        peer.send(post(MAX_BODY, b"x" * MAX_BODY))
        self.assertEqual(peer.status(), 200)
        self.assertEqual(len(served.root.bodies[0]), MAX_BODY)

    def test_body_too_large(self) -> None:
        """R14: a body over the limit gets one 413, before it came; one of no known length 411."""
        chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        for request in (
            post(MAX_BODY + 1, b""),
            post(MAX_BODY + 1, b"line\r\n\r\n" + GET),
            post(MAX_BODY + 1, b"").replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
            chunked,
            chunked + b"5\r\nhello\r\n0\r\n\r\n",
        ):
            served = Served(self)
            peer = served.connect()
            peer.send(request + b"x\r\n\r\n")
            answer = peer.take()
            status = b"411" if b"chunked" in request else b"413"
            self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), answer)
            self.assertEqual(answer.count(b"HTTP/1.1"), 1, answer)
            self.assertTrue(peer.pipe.lost)
            self.assertEqual((served.root.bodies, served.traffic.sent), ([], len(answer)))

    def test_absurd_length(self) -> None:
        """R14: a Content-Length of thousands of digits is a bad request."""
        peer = Served(self).connect()
        peer.send(b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n" + GET)
        self.assertEqual(peer.take().split(b"\r\n")[0], b"HTTP/1.1 400 Bad Request")

    def test_forms(self) -> None:
        """R13: a form is left to its resource, with its type, however strange; nothing tries to read it."""
        odd = b"--x\r\nContent-Disposition: form-data; name*=utf-8''n\r\n\r\nv\r\n--x--\r\n"
        for kind in (b"multipart/form-data; boundary=x", b"multipart/form-data\x0b\x0c; \x1e=x", b"\x85"):
            served = Served(self)
            peer = served.connect()
            peer.send(post(len(odd), odd).replace(b"Host: x", b"Content-Type: " + kind))
            self.assertEqual(peer.status(), 200)
            self.assertEqual((served.root.bodies, served.root.types), ([odd], [kind]))

    def test_one_answer_to_garbage(self) -> None:
        """R13: lines that are no request get one 400, however many there are, and a closed connection."""
        peer = Served(self).connect()
        peer.send(b"nonsense\r\n" * 9 + b"\r\n" + GET)
        self.assertEqual(peer.take(), b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertTrue(peer.pipe.lost)

    def test_silence(self) -> None:
        """R18: a connection on which nothing comes is closed after the time for a request."""
        served = Served(self)
        peer = served.connect()
        served.advance(REQUEST_TIMEOUT - 0.1)
        self.assertFalse(peer.is_closed)
        served.advance(0.2)
        self.assertTrue(peer.is_closed)

    def test_slow_request(self) -> None:
        """R18: a request that comes byte by byte, head or body, is cut off at the same moment."""
        for request in (GET, post(1000, b"x" * 1000)):
            served = Served(self)
            peer = served.connect()
            begun = max(request.find(b"xxx"), 0)  # a head that is there at once is no request yet
            for i in range(30):
                served.advance(9.6 / 30)
                peer.send(request[begun + i : begun + i + 1] if i else request[: begun + 1])
            self.assertFalse(peer.is_closed)
            served.advance(0.5)
            self.assertTrue(peer.is_closed)

    def test_deadline_starts_again(self) -> None:
        """R18: the next request may let wait for it, then has its time; a slow answer has no limit."""
        served = Served(self)
        peer = served.connect()
        served.advance(REQUEST_TIMEOUT - 1)
        peer.send(SLOW)
        served.advance(10 * REQUEST_TIMEOUT)
        served.root.answer(served.root.waiting[0])
        self.assertEqual(peer.status(), 200)
        served.advance(IDLE_TIMEOUT - 1)
        peer.send(GET[:1])
        served.advance(REQUEST_TIMEOUT - 1)
        peer.send(GET[1:2])
        self.assertFalse(peer.is_closed)
        served.advance(1.5)
        self.assertTrue(peer.is_closed)

    def test_idle(self) -> None:
        """A connection is kept for `idle_timeout` for another request."""
        served = Served(self)
        peer = served.connect()
        peer.send(GET)
        self.assertEqual(peer.status(), 200)
        served.advance(IDLE_TIMEOUT - 1)
        self.assertFalse(peer.is_closed)
        served.advance(1.5)
        self.assertTrue(peer.is_closed)

    def test_stubborn(self) -> None:
        """A client that does not close when the server has is cut off."""
        served = Served(self)
        peer = served.connect()
        peer.stubborn = True
        served.advance(REQUEST_TIMEOUT)
        self.assertTrue(peer.pipe.eof_sent)
        self.assertFalse(peer.pipe.lost)
        served.advance(CLOSE_TIMEOUT)
        self.assertTrue(peer.pipe.aborted)

    def test_answer_not_read(self) -> None:
        """R16: a client that takes nothing of a long answer is cut off; one that takes it late is not."""
        for late in (True, False):
            served = Served(self)
            peer = served.connect()
            peer.read(False)
            peer.send(SLOW)
            request = served.root.waiting[0]
            request.write(b"x" * 200_000)
            served.advance(REQUEST_TIMEOUT - 1)
            if late:
                peer.read(True)
            served.advance(2)
            self.assertEqual(peer.pipe.lost, not late)

    def test_half_close(self) -> None:
        """R15: a client that sends requests and closes its side gets every answer, and then the end."""
        served = Served(self)
        peer = served.connect()
        peer.send(SLOW + GET + SLOW)
        peer.finish()
        served.root.answer(served.root.waiting[0])
        self.assertFalse(peer.is_closed)
        served.root.answer(served.root.waiting[1])
        answer = peer.take()
        self.assertEqual((answer.count(b"HTTP/1.1 200"), answer.count(b"at last")), (3, 2))
        self.assertTrue(peer.pipe.lost)

    def test_half_close_within_a_request(self) -> None:
        """A client that closes its side before its request is whole is let go."""
        peer = Served(self).connect()
        peer.send(GET[:-2])
        peer.finish()
        self.assertTrue(peer.pipe.lost)

    def test_shut_down(self) -> None:
        """R31: a stop closes idle connections at once, and others after the answer."""
        served = Served(self)
        idle, busy = served.connect(), served.connect()
        busy.send(SLOW)
        for connection in list(served.connections):
            connection.shut_down()
        served.advance(0)
        self.assertTrue(idle.is_closed)
        self.assertFalse(busy.is_closed)
        served.root.answer(served.root.waiting[0])
        self.assertIn(b"at last", busy.take())
        self.assertTrue(busy.is_closed)

    def test_shut_down_within_a_request(self) -> None:
        """A request that a stop cuts short, and whose client stays, is not counted as one that was late."""
        served = Served(self)
        peer = served.connect()
        peer.stubborn = True
        peer.send(GET[:-2])
        served.advance(REQUEST_TIMEOUT - 1)
        next(iter(served.connections)).shut_down()
        served.advance(2)
        self.assertFalse(peer.pipe.lost)
        served.advance(5)
        self.assertEqual((peer.pipe.aborted, served.refusals), (True, []))

    def test_shut_down_while_a_handshake_waits(self) -> None:
        """R31: a handshake that is answered after the stop is told 1001."""
        served = Served(self)
        peer = served.connect()
        peer.send(handshake(start=b"GET /slow HTTP/1.1"))
        next(iter(served.connections)).shut_down()
        served.root.answer(served.root.waiting[0])
        self.assertIn(b" 101 ", peer.take_head())
        self.assertEqual(peer.close_code(), 1001)


GOOD = [
    GET,
    SLOW,
    post(5, b"hello"),
    post(9, b"--x\r\n\r\n--").replace(b"Host: x", b"Content-Type: multipart/form-data; boundary=x"),
    handshake(b"Origin: http://127.0.0.1:80", b"Sec-WebSocket-Protocol: echo"),
    handshake(b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
    text("grüß"),
    frame(Opcode.TEXT, b"x", fin=False),
    frame(Opcode.CONT, b"y"),
    frame(Opcode.BINARY, b"\xc1\x00", rsv1=True),
    frame(Opcode.PING, b"p"),
    frame(Opcode.PONG),
    close(1000),
]
JUNK = st.one_of(st.sampled_from(GOOD), st.binary(max_size=40))


class GarbageTests(SynchronousTestCase):
    """R13: whatever comes, nothing is logged, and everything is let go."""

    @settings(max_examples=300, deadline=None)
    @given(st.lists(JUNK, max_size=8), st.data(), st.booleans())
    def test_garbage(self, pieces: list[bytes], data: st.DataObject, upgraded: bool) -> None:
        """R13: good and bad input in any mixture, with bytes changed, leads to no logged error."""
        stream = bytearray(b"".join([GOOD[5] if upgraded else b"", *pieces]))
        for _ in range(data.draw(st.integers(0, 3)) if stream else 0):
            stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(stream)))
        served = Served(self, compression=True)
        peer = served.connect()
        peer.send(bytes(stream[:cut]))
        peer.send(bytes(stream[cut:]))
        served.advance(1)
        peer.finish()
        served.advance(1)
        for request in served.root.waiting:
            if request.channel is not None:
                served.root.answer(request)
        served.assert_clean()
        self.assertEqual(self.flushLoggedErrors(), [])
