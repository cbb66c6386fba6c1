"""Large frames that a thread receives, over real sockets."""

from __future__ import annotations

import socket
from random import Random
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode

from protosuite.errors import StorageFull
from protosuite.net import frame_receiver
from protosuite.net.connection import LENT
from protosuite.net.frame_receiver import LEAST, FrameReceiver
from protosuite.net.masking import MASK, apply_mask, turned
from protosuite.net.web import _Transport
from protosuite.test.web_peers import Piecemeal, Served, close, frame, text

KIB = 1 << 10
MOST = 1 << 40


class Reactor:
    """What a connection does between the calls of threads: it reads headers, and what is small."""

    def __init__(self, case: SynchronousTestCase, random: Random, most: int = MOST) -> None:
        self.ours, self.peer = socket.socketpair()
        for end in (self.ours, self.peer):
            end.setblocking(False)
            case.addCleanup(end.close)
        self.random = random
        self.most = most
        self.got = bytearray()
        self.taken = 0  # of that, by threads
        self.received = 0
        self._left, self._mask = 0, bytes(MASK)
        self._have = b""
        self._unsent = b""

    def give(self, data: bytes) -> None:
        """As a file."""
        self.got += data

    def run(self, stream: bytes) -> None:
        """Take all frames of this, which are binary messages, as they come."""
        self._unsent = stream
        while self._unsent or self._have or self._left or self._receive():
            if self._have or (not self._left and self._receive()):
                self._read()
            elif self._left:
                self._lend()

    def receiver(self, left: int, mask: bytes) -> FrameReceiver:
        """One for what is to come of a message."""
        return FrameReceiver(self.ours.dup(), left, mask, self.most, 1 << 20)

    def push(self) -> None:
        """The peer sends some."""
        for _ in range(self.random.randrange(4)):
            try:
                sent = self.peer.send(self._unsent[: self.random.choice((9, 20_000, 65_537, 1 << 20))])
            except BlockingIOError:
                break
            self._unsent = self._unsent[sent:]

    def _receive(self) -> bool:
        self.push()
        try:
            data = self.ours.recv(self.random.choice((1, 13, 14, 1 << 16, 1 << 16, 1 << 16)))
        except BlockingIOError:
            return bool(self._unsent)
        self._have += data
        self.received += len(data)
        return True

    def _read(self) -> None:
        """Take what is here of a message, or begin with the next if its header is here."""
        if not self._left:
            more = {126: 2, 127: 8}.get(self._have[1] - 0x80, 0) if len(self._have) > 1 else 8
            head = 2 + more + MASK
            if len(self._have) < head:
                self._receive()
                return
            self._left = int.from_bytes(self._have[2 : 2 + more]) if more else self._have[1] - 0x80
            self._mask, self._have = self._have[head - MASK : head], self._have[head:]
        piece, self._have = self._have[: self._left], self._have[self._left :]
        self.give(apply_mask(piece, self._mask))
        self._left -= len(piece)
        self._mask = turned(self._mask, len(piece))

    def _lend(self) -> None:
        receiver = self.receiver(self._left, self._mask)
        for _ in range(self.random.randrange(1, 5)):
            if receiver.left and not receiver.rest:
                self.push()
                receiver.receive(self.give)
        receiver.close()
        self.taken += receiver.taken
        self.received += receiver.received
        self._left, self._mask, self._have = receiver.left, receiver.mask, receiver.rest
        if not receiver.taken:  # it may have had enough
            self._receive()


class FrameReceiverTests(SynchronousTestCase):
    """One that receives what a peer sends."""

    def test_any_cut(self) -> None:
        """Messages of any sizes come byte for byte, however they are cut and whoever receives which part."""
        sizes = (0, 1, 125, 126, 65_535, LEAST, LEAST + 1, LEAST + 2, LEAST + 3, 300 * KIB)
        for seed in range(30):
            random = Random(seed)
            content = [random.randbytes(random.choice(sizes)) for _ in range(8)]
            stream = b"".join(frame(Opcode.BINARY, data) for data in content)
            reactor = Reactor(self, random, random.choice((MOST, MOST, 7777, 100_000)))
            reactor.run(stream)
            self.assertEqual(bytes(reactor.got), b"".join(content), seed)
            self.assertEqual(reactor.received, len(stream))
            self.assertGreater(reactor.taken, 0)

    def begin(self, stream: bytes, left: int, most: int = MOST) -> tuple[Reactor, FrameReceiver]:
        """A receiver, and what its peer has sent."""
        reactor = Reactor(self, Random(1), most)
        reactor.peer.sendall(stream)
        receiver = reactor.receiver(left, b"mask")
        self.addCleanup(receiver.close)
        return reactor, receiver

    def test_what_comes_behind(self) -> None:
        """Only a large binary message is begun behind another: what else comes is left to who reads next."""
        large = frame(Opcode.BINARY, bytes(LEAST))
        for behind in (
            text("a text that is longer"),
            frame(Opcode.BINARY, bytes(65_535)),
            frame(Opcode.TEXT, b"x" * LEAST),
            frame(Opcode.BINARY, bytes(LEAST), rsv1=True),
            frame(Opcode.BINARY, bytes(LEAST), fin=False),
            frame(Opcode.BINARY, bytes(LEAST), mask=False),
            large[:13],
            close(1000),
            b"\x82\xff" + b"\xff" * 8 + b"mask",
            frame(Opcode.BINARY, bytes((1 << 20) + 1))[:14],
            b"\x82\xff" + (LEAST - 1).to_bytes(8, "big") + b"mask",
        ):
            reactor, receiver = self.begin(bytes(9) + behind, 9)
            receiver.receive(reactor.give)
            self.assertEqual((receiver.left, receiver.taken), (0, 9))
            self.assertEqual(receiver.rest, behind[:14])
        reactor, receiver = self.begin(bytes(9) + large, 9)
        receiver.receive(reactor.give)
        self.assertEqual((bytes(reactor.got[9:]), receiver.taken), (bytes(LEAST), 9 + LEAST))
        self.assertEqual(receiver.rest, b"")

    def test_nothing_behind_a_header(self) -> None:
        """A message whose header is all that has come of it is begun, and its data taken by the next call."""
        data = bytes(range(256)) * 256
        image = frame(Opcode.BINARY, data)
        reactor, receiver = self.begin(bytes(9) + image[:14], 9)
        self.assertFalse(receiver.receive(reactor.give))
        self.assertEqual((receiver.left, receiver.mask, receiver.rest), (LEAST, image[10:14], b""))
        reactor.peer.sendall(image[14:])
        self.assertFalse(receiver.receive(reactor.give))
        self.assertEqual((bytes(reactor.got[9:]), receiver.received), (data, 9 + len(image)))

    def test_no_more_than_may_be(self) -> None:
        """No byte is received past the most, and a message that is larger than what is left is not begun."""
        large = frame(Opcode.BINARY, bytes(LEAST))
        for most, taken, rest, received in (
            (8, 8, b"", 8),
            (9 + LEAST - 1, 9, large[:14], 23),
            (9 + LEAST, 9 + LEAST, b"behind", 9 + 14 + LEAST + 6),
        ):
            reactor, receiver = self.begin(bytes(9) + large + b"behind", 9, most)
            receiver.receive(reactor.give)
            self.assertEqual((receiver.taken, receiver.rest, receiver.received), (taken, rest, received))
            self.assertEqual(bytes(reactor.got[9:]), bytes(taken)[9:])
            receiver.receive(reactor.give)
            self.assertEqual(receiver.received, received)

    def test_one_call(self) -> None:
        """A call ends when it has received as much as one may, and says that there may be more."""
        self.patch(frame_receiver, "_AT_ONCE", 50_000)
        self.patch(frame_receiver, "_PIECE", 20_000)
        reactor, receiver = self.begin(bytes(90_000), 90_000)
        self.assertTrue(receiver.receive(reactor.give))
        self.assertEqual((receiver.taken, receiver.left), (60_000, 30_000))
        self.assertFalse(receiver.receive(reactor.give))
        self.assertEqual((receiver.taken, receiver.left), (90_000, 0))

    def test_the_peer_is_gone(self) -> None:
        """What came is handed on; that nothing follows, or all is broken, is another's to notice."""
        reactor, receiver = self.begin(b"some", 1000)
        reactor.peer.close()
        self.assertFalse(receiver.receive(reactor.give))
        self.assertFalse(receiver.receive(reactor.give))
        self.assertEqual(receiver.taken, 4)
        reactor, receiver = self.begin(b"", 1000)
        reactor.ours.send(b"unread")
        reactor.peer.close()
        self.assertFalse(receiver.receive(reactor.give))  # reset by peer
        self.assertEqual((receiver.taken, receiver.rest), (0, b""))

    def test_the_disk_fails(self) -> None:
        """What cannot be written was received, and so was what is behind it: the rest makes sense."""
        behind = frame(Opcode.BINARY, bytes(LEAST))
        _, receiver = self.begin(bytes(9) + behind[:14], 9)

        def fail(data: bytes) -> None:
            raise StorageFull("no room")

        self.assertRaises(StorageFull, receiver.receive, fail)
        self.assertEqual((receiver.left, receiver.taken, receiver.rest), (0, 9, behind[:14]))
        self.assertEqual(receiver.received, 23)


class LentTests(SynchronousTestCase):
    """A WebSocket that is lent. What a thread receives comes from a socket of its own."""

    def setUp(self) -> None:
        self.ours, self.peer = socket.socketpair()
        for end in (self.ours, self.peer):
            end.setblocking(False)
            self.addCleanup(end.close)
        self.patch(_Transport, "lend", self.lend)

    def lend(self) -> socket.socket:
        [connection] = self.served.connections
        connection.hold_reading(LENT)
        return self.ours.dup()

    def begin(self, size: int = 2 * LEAST, spare: int = 1 << 20, **limits: Any) -> tuple[bytes, Any]:
        """A message has been begun, and it is known how much is missing: what is to come, and its peer."""
        self.served = Served(self, make=Piecemeal, max_message=1 << 20, **limits)
        peer = self.served.open()
        self.talk.spare = spare
        stream = frame(Opcode.BINARY, bytes(range(256)) * (size // 256))
        head = len(stream) - size
        peer.send(stream[: head + 1])
        return stream[head + 1 :], peer

    @property
    def talk(self) -> Any:
        return self.served.talk

    def test_lent(self) -> None:
        """What a thread leaves is gone on with, and the transport knows how much of it is missing."""
        rest, peer = self.begin()
        peer.send(rest[:9])
        [(receiver, done)] = self.talk.lent
        self.assertFalse(peer.pipe.reading)
        self.peer.send(rest[9:-3])
        receiver.receive(self.talk.piece)
        done()
        self.assertEqual((receiver._socket.fileno(), peer.pipe.reading, peer.pipe.expected), (-1, True, 3))
        peer.send(rest[-3:] + text("behind"))
        self.assertEqual(self.talk.messages, [bytes(range(256)) * 512, "behind"])
        self.assertEqual(len(self.talk.lent), 1)

    def test_behind(self) -> None:
        """What a thread has received behind a message is heard when it is done, in its place."""
        rest, peer = self.begin()
        peer.send(rest[:9])
        [(receiver, done)] = self.talk.lent
        self.peer.send(rest[9:] + text("hi"))
        receiver.receive(self.talk.piece)
        self.assertEqual(len(self.talk.messages), 1)
        done()
        self.assertEqual((self.talk.messages[1:], peer.pipe.expected), (["hi"], 0))

    def test_gone(self) -> None:
        """Nothing is heard when the connection has gone meanwhile; the descriptor is given back."""
        rest, peer = self.begin()
        peer.send(rest[:9])
        [(receiver, done)] = self.talk.lent
        self.peer.send(rest[9:] + text("hi"))
        peer.pipe.lose(ConnectionLost())
        receiver.receive(lambda piece: None)
        done()
        self.assertEqual((self.talk.messages, receiver._socket.fileno()), ([], -1))

    def test_not_worth_it(self) -> None:
        """It is not lent for little, nor while what comes is as fast as it is read."""
        for size, spare, at_once, count in (
            (2 * LEAST, LEAST, 9, 1),
            (2 * LEAST, LEAST, 10, 0),
            (2 * LEAST, LEAST - 1, 9, 0),
            (LEAST + 256, LEAST, 9, 1),
            (LEAST, LEAST, 9, 0),
        ):
            self.served = Served(self, make=Piecemeal, max_message=1 << 20)
            peer = self.served.open()
            peer.pipe.at_once = at_once
            self.talk.spare = spare
            stream = frame(Opcode.BINARY, bytes(size))
            peer.send(stream[:20])
            peer.send(stream[20:29])
            self.assertEqual(len(self.talk.lent), count)
            for _, done in self.talk.lent:
                done()
            self.served.assert_clean()

    def test_not_while_it_is_not_read(self) -> None:
        """It is not lent while the talk takes nothing, nor when it has closed."""
        rest, peer = self.begin()
        self.talk.socket.pause_reading()
        peer.pipe.reading = True  # what was read already
        peer.send(rest[:9])
        self.assertEqual((len(self.talk.pieces), self.talk.lent), (2, []))
        rest, peer = self.begin()
        self.talk.socket.close()
        peer.send(rest[:9])
        self.assertEqual((len(self.talk.pieces), self.talk.lent), (2, []))

    def test_closed_meanwhile(self) -> None:
        """A close of ours while a thread receives is answered behind what it has received."""
        rest, peer = self.begin()
        peer.send(rest[:9])
        [(receiver, done)] = self.talk.lent
        self.talk.socket.close(4001, "enough")
        self.peer.send(rest[9:] + close(4001))
        receiver.receive(self.talk.piece)
        done()
        peer.see()
        self.assertEqual((peer.close_code(), self.talk.code), (4001, 4001))

    def test_silence(self) -> None:
        """However long it is lent, the peer is not asked, nor a message taken for one that does not end."""
        rest, peer = self.begin(message_timeout=10)
        peer.send(rest[:9])
        [(_, done)] = self.talk.lent
        self.served.advance(100)
        self.assertEqual((peer.frames(), self.talk.code), ([], None))
        done()
        self.served.advance(9)
        self.assertIsNone(self.talk.code)
        self.served.advance(1)
        self.assertEqual(peer.close_code(), 1008)
