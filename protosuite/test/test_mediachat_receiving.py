"""Media that come faster than they are read: over real sockets, with a reactor and threads turned by hand."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from collections.abc import Iterable
from random import Random
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure
from websockets.frames import Opcode

from protosuite.mediachat.media.folder import FilePart
from protosuite.net.frame_receiver import FrameReceiver
from protosuite.net.prompt import PromptServer
from protosuite.test.mediachat_peers import Fixture, digest
from protosuite.test.test_prompt import Turns
from protosuite.test.web_peers import close, frame, handshake, parse, text

KIB = 1 << 10
DATA = Random(1).randbytes(2000 * KIB)
BEHIND = json.dumps({"type": "text", "text": "behind"})
PATIENT = 1_000_000  # turns after which what has not come never will; there may be other work to do


def images(data: bytes, size: int = 256 * KIB) -> bytes:
    """The frames of a file."""
    return b"".join(frame(Opcode.BINARY, data[at : at + size]) for at in range(0, len(data), size))


class Line:
    """A client over TCP. It sends as much as there is room for, and reads all that it is sent."""

    def __init__(self, protocol: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self.peer = socket.create_connection(listener.getsockname())
            ours, address = listener.accept()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.reactor: Any = Turns()
        none: Any = None
        reactor: Any = self.reactor
        self.transport: Any = PromptServer(ours, protocol, address, none, 1, reactor)
        self.protocol = protocol
        self.sent = 0
        self._unsent = b""
        self._got = b""
        self._said = 0
        self._is_over = False
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Send this, when there is room."""
        self._unsent += data
        self.push()

    def push(self) -> None:
        """Send what there is room for."""
        try:
            sent = self.peer.send(self._unsent)
        except (BlockingIOError, ConnectionError):
            return
        self.sent += sent
        self._unsent = self._unsent[sent:]

    def turn(self) -> None:
        """One turn of the reactor."""
        self.push()
        for reader in list(self.reactor.readers):
            why = reader.doRead()
            if why is CONNECTION_DONE and IHalfCloseableProtocol.providedBy(self.protocol):
                self.reactor.removeReader(reader)
                self.protocol.readConnectionLost()
            elif why:
                self.reactor.removeReader(reader)
                reader.connectionLost(Failure(why))
        self.reactor.turn()

    def heard(self) -> Any:
        """The next that the server has said, or how it closed; None if that was all."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._got += self.peer.recv(1 << 20)
        _, _, stream = self._got.partition(b"\r\n\r\n")
        said = list(parse(stream))[self._said :]
        if not said:
            return None
        self._said += 1
        kind, *what = said[0]
        return json.loads(what[0]) if kind == "text" else (kind, *what)

    def drop(self) -> None:
        """The connection breaks."""
        if not self._is_over:
            self._is_over = True
            self.transport.abortConnection()
            self.turn()
            self.peer.close()


class ReceivingTests(Fixture):
    """A media chat whose clients send as fast as they can."""

    def setUp(self) -> None:
        super().setUp()
        self.receivers: list[FrameReceiver] = []
        receive = FrameReceiver.receive

        def noted(receiver: FrameReceiver, give: Any) -> None:
            self.receivers.append(receiver)
            receive(receiver, give)

        self.patch(FrameReceiver, "receive", noted)
        self.lines: list[Line] = []
        self.addCleanup(self.leave_nothing)

    def leave_nothing(self) -> None:
        """Every connection is dropped, and no descriptor is left."""
        for line in self.lines:
            line.drop()
        self.threads.by_hand(False)
        self.settle()
        for receiver in self.receivers:
            self.assertEqual(receiver._socket.fileno(), -1)

    @property
    def taken(self) -> int:
        """Bytes that threads have received."""
        return sum(receiver.taken for receiver in self.receivers)

    def line(self, path: str = "/ws/7") -> Line:
        """A client that has said its zone, and been welcomed."""
        factory: Any = self.service.factory()
        line = Line(factory.buildProtocol(None))
        self.lines.append(line)
        line.send(handshake(start=f"GET {path} HTTP/1.1".encode()))
        line.turn()
        line.send(text(json.dumps({"timezone": "Europe/Paris"})))
        self.wait(line)
        return line

    def begin(self, line: Line, size: int, **more: Any) -> None:
        """The head of a file."""
        head = {"name": "a", "size": size, "kind": "file", **more}
        line.send(frame(Opcode.BINARY, json.dumps(head).encode()))

    def wait(self, line: Line) -> Any:
        """What the server says next."""
        for _ in range(PATIENT):
            line.turn()
            self.settle()
            if said := line.heard():
                return said
        raise AssertionError("nothing was said")

    def lend(self, line: Line) -> None:
        """Go on until a thread is about to receive."""
        self.threads.by_hand()
        for _ in range(PATIENT):
            line.turn()
            if line.transport not in line.reactor.readers:
                return
            self.threads.settle()
        raise AssertionError("no thread was asked")

    def assert_saved(self, said: Any, data: bytes) -> None:
        self.assertEqual((said["status"], self.files()[-1:]), ("saved", [digest(data)]))
        path = self.root / "media" / digest(data)[:2] / digest(data)[2:]
        self.assertEqual(path.read_bytes(), data)

    def test_saved(self) -> None:
        """A file of any frames is stored byte for byte, much of it received by threads; all is counted."""
        for size in (100 * KIB, 256 * KIB, 1000 * KIB, 1024 * KIB):
            line = self.line()
            before = self.taken, self.service.traffic.received - line.sent
            self.begin(line, len(DATA))
            line.send(images(DATA, size) + text(BEHIND))
            self.assert_saved(self.wait(line), DATA)
            self.assertGreater(self.taken - before[0], len(DATA) // 3)
            self.assertEqual(self.wait(line)["status"], "saved")
            self.assertEqual(self.service.traffic.received - line.sent, before[1])
            line.drop()

    def test_broken_off(self) -> None:
        """A connection that breaks while a thread receives leaves what came; the client goes on there."""
        line = self.line()
        self.begin(line, len(DATA), upload="u", sha256=digest(DATA))
        self.assertEqual(self.wait(line)["offset"], 0)
        line.send(images(DATA)[: 1500 * KIB])
        self.lend(line)
        line.drop()
        self.threads.by_hand(False)
        self.settle()
        self.assertGreater(self.taken, 0)
        again = self.line()
        self.begin(again, len(DATA), upload="u", sha256=digest(DATA))
        offset = self.wait(again)["offset"]
        self.assertGreaterEqual(offset, self.taken)
        again.send(images(DATA[offset:]))
        self.assert_saved(self.wait(again), DATA)

    def test_taken_over(self) -> None:
        """A client that comes back while a thread receives what it sent before goes on behind all of that."""
        line, again = self.line(), self.line()
        self.begin(line, len(DATA), upload="u")
        self.wait(line)
        line.send(images(DATA)[: 1500 * KIB])
        self.lend(line)
        self.begin(again, len(DATA), upload="u")
        again.turn()
        self.threads.by_hand(False)
        offset = self.wait(again)["offset"]
        self.assertGreater(self.taken, 0)
        self.assertGreaterEqual(offset, self.taken)
        again.send(images(DATA[offset:]))
        self.assert_saved(self.wait(again), DATA)

    def test_the_disk_fails(self) -> None:
        """What cannot be written is told, the rest of it is dropped, and the connection goes on."""
        write = FilePart.write

        def fails(part: FilePart, pieces: Iterable[bytes | bytearray]) -> None:
            if self.receivers:
                raise OSError(errno.ENOSPC, "no room")
            write(part, pieces)

        self.patch(FilePart, "write", fails)
        line = self.line()
        self.begin(line, len(DATA))
        line.send(images(DATA) + text(BEHIND))
        self.assertEqual(self.wait(line)["status"], "error")
        self.assertEqual(self.wait(line)["status"], "saved")
        self.assertGreater(self.taken, 0)
        self.assertEqual((self.parts(), self.files()), ([], []))
        self.flushLoggedErrors(OSError)

    def test_stopped(self) -> None:
        """A stop while a thread receives ends the connection in order, and leaves what came."""
        line = self.line()
        self.begin(line, len(DATA), upload="u")
        self.wait(line)
        line.send(images(DATA)[: 1500 * KIB])
        self.lend(line)
        drained = self.service.drain(60)
        self.assertNoResult(drained)
        self.threads.by_hand(False)
        self.assertEqual(self.wait(line), ("close", 1001, "the server stops"))
        self.assertGreater(self.taken, 0)
        line.send(close(1001))
        line.peer.shutdown(socket.SHUT_WR)
        for _ in range(PATIENT):
            line.turn()
            if drained.called:
                break
        self.successResultOf(drained)
        self.assertEqual(len(self.parts()), 1)

    def test_no_descriptor_is_left(self) -> None:
        """Where no descriptor can be had for a thread, a file comes by the reactor."""

        def dup(socket: object) -> None:
            raise OSError(errno.EMFILE, "too many open files")

        line = self.line()
        self.patch(socket.socket, "dup", dup)
        self.begin(line, len(DATA))
        line.send(images(DATA))
        self.assert_saved(self.wait(line), DATA)
        self.assertEqual(self.receivers, [])

    def test_given_up_before_it_begins(self) -> None:
        """A connection that breaks before its file is open, and is lent already, leaves nothing."""
        line = self.line()
        self.threads.by_hand()
        self.begin(line, len(DATA))
        line.send(images(DATA))
        for _ in range(PATIENT):
            line.turn()
            if line.transport not in line.reactor.readers:
                break
        self.assertNotIn(line.transport, line.reactor.readers)
        line.drop()
        self.threads.by_hand(False)
        self.settle()
        self.assertEqual((self.parts(), self.files(), len(self.service.uploads)), ([], [], 0))

    def test_a_slow_disk(self) -> None:
        """However long a thread takes, the client is not taken for silent, and nothing is read past it."""
        line = self.line()
        self.begin(line, len(DATA))
        line.send(images(DATA))
        self.lend(line)
        received = self.service.traffic.received
        for _ in range(100):
            self.clock.advance(10)
            line.turn()
        self.assertIsNone(line.heard())
        self.assertEqual(self.service.traffic.received, received)
        self.threads.by_hand(False)
        self.assert_saved(self.wait(line), DATA)
