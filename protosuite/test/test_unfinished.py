"""Messages that are begun and not finished: an absolute time, which no number of bytes prolongs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import encode_request as encode_bus
from protosuite.config import BusConfig, CounterConfig, NumbersConfig
from protosuite.counter.wire import encode_request as encode_counter
from protosuite.net.connection import PACE
from protosuite.net.unfinished import Unfinished
from protosuite.test.places_served import Running, make_bus, make_counter, make_numbers
from protosuite.test.web_peers import Piecemeal, Pipe, Served, frame, text

SECONDS = 10
STARTED = b'{"type":"start","client":"ana"}\n'
LONG = encode_bus(pb.EchoMessage(content="x" * 1000))


class UnfinishedTests(SynchronousTestCase):
    """The clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.is_within = self.is_read = True
        self.count = 0
        self.unfinished = Unfinished(
            self.clock, SECONDS, lambda: self.is_within, lambda: self.is_read, self.overdue
        )

    def overdue(self) -> None:
        self.count += 1

    def test_absolute(self) -> None:
        """R18: what comes in between prolongs nothing."""
        for _ in range(9):
            self.unfinished.look(has_ended=False)
            self.clock.advance(1)
        self.assertEqual(self.count, 0)
        self.clock.advance(1)
        self.assertEqual(self.count, 1)

    def test_another(self) -> None:
        """Each message has the whole time, and none runs between two."""
        for _ in range(9):
            self.unfinished.look(has_ended=True)
            self.clock.advance(9)
        self.is_within = False
        self.unfinished.look(has_ended=True)
        self.assertEqual((self.count, self.clock.getDelayedCalls()), (0, []))

    def test_not_read(self) -> None:
        """While we do not read no time runs; after that it begins anew."""
        self.unfinished.look(has_ended=False)
        self.is_read = False
        self.clock.advance(50)
        self.is_read = True
        self.unfinished.read_on()
        self.clock.advance(9)
        self.assertEqual(self.count, 0)
        self.clock.advance(1)
        self.assertEqual(self.count, 1)

    def test_finished_unseen(self) -> None:
        """A message that has ended without a look is not overdue."""
        self.unfinished.look(has_ended=False)
        self.is_within = False
        self.clock.advance(SECONDS)
        self.assertEqual((self.count, self.clock.getDelayedCalls()), (0, []))


class ServiceTests(SynchronousTestCase):
    """The services on TCP, once their first message has come."""

    def serve(self, make: Any, config: Any) -> tuple[Running, Pipe]:
        folder = Path(self.mktemp())
        folder.mkdir()
        running: Running = make(folder, config)
        running.service.startService()
        self.addCleanup(running.service.stopService)
        pipe = Pipe(running.service.factory().buildProtocol(None))
        self.addCleanup(pipe.lose, ConnectionError())
        pipe.pump()
        return running, pipe

    def drip(self, make: Any, config: Any, first: bytes, message: bytes, code: str) -> None:
        """Hold that `message`, a byte a second behind `first`, ends the connection at its time."""
        running, pipe = self.serve(make, config)
        pipe.arrive(first)
        running.clock.advance(5)
        pipe.arrive(message[:1])
        for byte in message[1:SECONDS]:
            running.clock.advance(1)
            pipe.arrive(bytes([byte]))
            self.assertFalse(pipe.eof_sent)
        self.assertEqual(running.service.refusals[code], 0)
        running.clock.advance(1)
        pipe.pump()
        self.assertEqual((pipe.eof_sent, running.service.refusals[code]), (True, 1))

    def test_numbers(self) -> None:
        """R18: a line of numbers."""
        config = NumbersConfig(message_timeout=SECONDS, interval=100)
        self.drip(make_numbers, config, STARTED, b'{"type":"ack","index":0}\n', "message-timeout")

    def test_counter(self) -> None:
        """R18: a frame of the counter."""
        frame = encode_counter(1)
        self.drip(make_counter, CounterConfig(frame_timeout=SECONDS), frame, frame, "frame-timeout")

    def test_bus(self) -> None:
        """R18: a message of the bus."""
        self.drip(make_bus, BusConfig(message_timeout=SECONDS), LONG, LONG, "message-timeout")

    def test_pieces(self) -> None:
        """R18: so does a message that is taken as it comes; and those that are whole in time may go on."""
        served = Served(self, message_timeout=SECONDS, make=Piecemeal)
        peer = served.open()
        image = frame(Opcode.BINARY, b"hello")
        peer.send(image[:-1])
        for _ in range(20):
            served.advance(9)
            peer.send(image[-1:] + image[:-1])
        self.assertEqual(served.talk.messages, [b"hello"] * 20)
        served.advance(9)
        self.assertIsNone(served.talk.code)
        served.advance(1)
        self.assertEqual(peer.close_code(), 1008)

    def test_in_time(self) -> None:
        """Messages that are whole in time may come one after the other, each cut in two, for ever."""
        running, pipe = self.serve(make_bus, BusConfig(message_timeout=SECONDS))
        pipe.arrive(LONG[:-5])
        for _ in range(20):
            running.clock.advance(9)
            pipe.arrive(LONG[-5:] + LONG[:-5])
        self.assertEqual(len(pipe.sent), 20 * len(LONG))
        self.assertFalse(pipe.eof_sent)

    def test_while_it_is_not_read(self) -> None:
        """What does not come because the server does not read is not held against the client."""
        running, pipe = self.serve(make_bus, BusConfig(message_timeout=SECONDS))
        pipe.arrive(LONG + LONG[:9])
        [connection] = running.service.connections
        connection.hold_reading(PACE)
        running.clock.advance(50)
        connection.release_reading(PACE)
        running.clock.advance(9)
        pipe.arrive(LONG[9:])
        self.assertEqual(len(pipe.sent), 2 * len(LONG))

    def test_half_closed(self) -> None:
        """R15: who closes its side behind half a line of numbers gets its stream all the same."""
        running, pipe = self.serve(make_numbers, NumbersConfig(message_timeout=1, interval=5, max_messages=3))
        pipe.arrive(STARTED + b"{")
        pipe.arrive(None)
        for _ in range(20):
            running.clock.advance(1)
            pipe.pump()
        self.assertIn(b'"type":"end"', bytes(pipe.sent))
        self.assertEqual(running.service.refusals, {})


class WebSocketTests(SynchronousTestCase):
    """The services on WebSockets."""

    def test_a_frame(self) -> None:
        """R18: a frame that comes byte by byte ends the connection at its time, and so does its length."""
        image = text("x" * 500)
        for cut in (1, 3, 8, 20):
            served = Served(self, message_timeout=SECONDS)
            peer = served.open()
            served.advance(3)
            peer.send(text("one") + image[:cut])
            for at in range(cut, cut + 9):
                served.advance(1)
                peer.send(image[at : at + 1])
            self.assertIsNone(served.talk.code)
            served.advance(1)
            self.assertEqual(peer.close_code(), 1008)
            self.assertEqual((served.talk.messages, served.refusals), (["one"], ["message-timeout"]))

    def test_fragments(self) -> None:
        """R18: so does a message of endless fragments, whatever pings come between them."""
        served = Served(self, message_timeout=SECONDS)
        peer = served.open()
        peer.send(frame(Opcode.TEXT, b"x", fin=False))
        for _ in range(9):
            served.advance(1)
            peer.send(frame(Opcode.CONT, b"x", fin=False) + frame(Opcode.PING, b"p"))
        self.assertIsNone(served.talk.code)
        served.advance(1)
        self.assertEqual(peer.close_code(), 1008)

    def test_in_time(self) -> None:
        """Messages that are whole in time may go on for ever, each cut in two; so may pings."""
        served = Served(self, message_timeout=SECONDS)
        peer = served.open()
        image = text("hello") + frame(Opcode.PING)
        peer.send(image[:4])
        for _ in range(20):
            served.advance(9)
            peer.send(image[4:] + image[:4])
        self.assertEqual(served.talk.messages, ["hello"] * 20)
        peer.send(image[4:])
        served.advance(15)
        self.assertIsNone(served.talk.code)

    def test_while_it_is_not_read(self) -> None:
        """While the talk takes nothing, half a message is not held against the peer."""
        served = Served(self, message_timeout=SECONDS)
        peer = served.open()
        image = text("hello")
        peer.send(image[:4])
        served.talk.socket.pause_reading()
        served.advance(50)
        served.talk.socket.resume_reading()
        served.advance(9)
        peer.send(image[4:])
        self.assertEqual(served.talk.messages, ["hello"])

    def test_too_fast(self) -> None:
        """So it is while a connection is not read for its `message_rate`."""
        served = Served(self, message_timeout=2, message_rate=1)
        peer = served.open()
        last = text("last")
        peer.send(text("x") * 10 + last[:4])
        served.advance(9)
        self.assertFalse(peer.pipe.reading)
        peer.send(last[4:])
        served.advance(4)
        self.assertEqual(len(served.talk.messages), 11)
