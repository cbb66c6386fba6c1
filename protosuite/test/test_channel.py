"""Channels between processes, with both ends in one and a reactor that a test turns by hand."""

from __future__ import annotations

import os
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from protosuite.net.channel import Channel, pair
from protosuite.test.test_prompt import Turns


class End:
    """One end, and what it has heard."""

    def __init__(self, reactor: Any, end: Any) -> None:
        self.packets: list[bytes] = []
        self.files: list[int] = []
        self.losses = 0
        self.channel = Channel(reactor, end, self._received, self._lost)

    def _received(self, packet: bytes, descriptor: int | None) -> None:
        self.packets.append(packet)
        if descriptor is not None:
            self.files.append(descriptor)

    def _lost(self) -> None:
        self.losses += 1


class ChannelTests(SynchronousTestCase):
    """Packets and files."""

    def setUp(self) -> None:
        self.reactor: Any = Turns()
        self.a, self.b = (End(self.reactor, end) for end in pair())
        self.addCleanup(self.a.channel.close)
        self.addCleanup(self.b.channel.close)

    def read(self, end: End) -> None:
        """Let an end read what there is, as a reactor does."""
        if why := end.channel.doRead():
            end.channel.connectionLost(Failure(why))

    def test_whole_and_in_order(self) -> None:
        """Packets arrive as they were sent, both ways."""
        self.a.channel.send(b"one")
        self.a.channel.send(b"two")
        self.b.channel.send(b"three")
        self.read(self.b)
        self.read(self.a)
        self.assertEqual((self.b.packets, self.a.packets), ([b"one", b"two"], [b"three"]))

    def test_more_than_the_system_takes(self) -> None:
        """What the other end has not read waits, in order, with its files; these may be closed at once."""
        count = 500
        for number in range(count):
            reading, writing = os.pipe()
            os.write(writing, b"%d" % number)
            self.a.channel.send(b"%d" % number * 300, reading)
            os.close(reading)
            os.close(writing)
        self.assertTrue(self.reactor.writers)
        while len(self.b.packets) < count:
            self.read(self.b)
            self.a.channel.doWrite()
        self.assertEqual(self.reactor.writers, set())
        self.assertEqual(self.b.packets, [b"%d" % number * 300 for number in range(count)])
        for number, descriptor in enumerate(self.b.files):
            self.assertEqual(os.read(descriptor, 10), b"%d" % number)
            os.close(descriptor)

    def test_the_other_end_is_gone(self) -> None:
        """What was sent before is read; then the loss is told, once. Sending raises nothing."""
        self.b.channel.send(b"last words")
        self.b.channel.close()
        self.a.channel.send(b"too late")
        for _ in range(3):
            self.read(self.a)
        self.assertEqual((self.a.packets, self.a.losses), ([b"last words"], 1))
        self.a.channel.send(b"too late")
        self.assertEqual(self.reactor.readers, set())

    def test_the_rest_of_somebody_gone(self) -> None:
        """All that is there can be taken at once."""
        for number in range(150):
            self.b.channel.send(b"%d" % number)
        self.b.channel.close()
        self.a.channel.read_rest()
        self.assertEqual(len(self.a.packets), 150)

    def test_closed(self) -> None:
        """Who has closed hears nothing any more, and keeps no file of what was waiting."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        while not self.reactor.writers:
            self.a.channel.send(b"x" * 1000, writing)
        self.a.channel.close()
        self.b.channel.close()
        os.close(writing)
        self.assertEqual(os.read(reading, 1), b"")  # nobody has the other end open
        self.assertEqual(self.a.losses, 0)
