"""Files that the system sends, over real sockets and a reactor that a test turns by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from protosuite.net.prompt import PromptServer
from protosuite.net.sendfile import FileSender
from protosuite.storage.workers import Calls
from protosuite.test.test_prompt import Pair
from protosuite.testing import HandWorker

CONTENT = bytes(range(256)) * 1000


class SendfileTests(SynchronousTestCase):
    """One file over one connection. What a thread would do is done when the test says so."""

    def setUp(self) -> None:
        self.pair = Pair(PromptServer)
        self.addCleanup(self.pair.close)
        path = Path(self.mktemp())
        path.write_bytes(CONTENT)
        self.file = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, self.file)
        self.worker = HandWorker()
        self.told: list[str | int] = []
        self.sender = FileSender(
            self.pair.transport,
            Calls(self.worker, lambda call, *arguments: call(*arguments)).run,
            lambda: self.told.append("stuck"),
            lambda: self.told.append("reads"),
            self.told.append,
        )
        self.addCleanup(self.sender.close)

    def send(self, offset: int = 0, count: int = len(CONTENT)) -> Deferred[None]:
        return Deferred.fromCoroutine(self.sender.send(self.file, offset, count))

    def settle(self) -> None:
        """Let threads work, the reactor turn and the peer read, until nothing comes any more."""
        before = -1
        while before != len(self.pair.received) or self.worker.run():
            before = len(self.pair.received)
            self.pair.reactor.turn()
            self.pair.read()

    def test_all_of_it(self) -> None:
        """The peer gets what was written before, and then the file, byte for byte; all of it is counted."""
        head = b"h" * 50_000  # more than the socket takes at once
        self.pair.transport.write(head)
        sending = self.send()
        self.assertEqual(self.worker.run(), 0)  # not ahead of what is before it
        self.settle()
        self.successResultOf(sending)
        self.assertEqual(self.pair.received, head + CONTENT)
        self.assertEqual(sum(each for each in self.told if isinstance(each, int)), len(CONTENT))
        self.assertEqual(self.pair.reactor.writers, set())

    def test_a_part(self) -> None:
        """A part is sent, and another after it."""
        for offset, count in ((1000, 300), (7, 1), (len(CONTENT) - 5000, 5000)):
            sending = self.send(offset, count)
            self.settle()
            self.successResultOf(sending)
        self.assertEqual(self.pair.received, CONTENT[1000:1300] + CONTENT[7:8] + CONTENT[-5000:])

    def test_does_not_read(self) -> None:
        """R16: while the peer takes nothing that is told, and no thread is kept; once it reads it goes on."""
        sending = self.send()
        while self.worker.run():
            pass
        self.assertEqual(self.told[-1], "stuck")
        self.pair.reactor.turn()  # it may be that there is room; there is none
        self.worker.run()
        self.assertEqual(self.told[-2:], ["reads", "stuck"])
        self.assertNoResult(sending)
        self.settle()
        self.successResultOf(sending)
        self.assertEqual(self.pair.received, CONTENT)

    def test_stopped(self) -> None:
        """It ends when it is told to, whether it waits for room or for a thread."""
        waiting = self.send()
        while self.worker.run():
            pass
        self.sender.stop()
        self.successResultOf(waiting)
        self.assertEqual((self.told[-1], self.pair.reactor.writers), ("reads", set()))
        self.successResultOf(self.send())

    def test_stopped_in_a_thread(self) -> None:
        """What a thread is doing comes to its end, on the socket of the connection and on no other."""
        sending = self.send()
        self.sender.stop()
        self.pair.transport.abortConnection()
        self.pair.reactor.turn()
        self.assertNoResult(sending)
        self.worker.run()
        self.successResultOf(sending)

    def test_the_peer_is_gone(self) -> None:
        """A connection that is lost ends it with an error, and so does a file that is shorter than it was."""
        sending = self.send(len(CONTENT) - 10, 11)
        self.settle()
        self.assertIn("shorter", str(self.failureResultOf(sending, OSError)))
        self.pair.peer.close()
        sending = self.send()
        while self.worker.run():
            pass
        self.failureResultOf(sending, ConnectionError)

    def test_lost_while_it_waits(self) -> None:
        """A connection that is lost while there is no room is noticed."""
        sending = self.send()
        while self.worker.run():
            pass
        reason: Any = None
        self.pair.peer.close()
        self.sender.connectionLost(reason)
        self.worker.run()
        self.failureResultOf(sending, ConnectionError)
