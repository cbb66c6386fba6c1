"""R20: hardly any file descriptors. What is too much is refused, the rest goes on; then all works again."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from hashlib import sha256
from pathlib import Path

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.counter.wire import encode_request
from tests.certificates import Authority, connect_tls
from tests.chatlog_peers import join
from tests.mediachat_peers import OPEN, ask, come, files, head, parsed
from tests.peers import add, connect
from tests.processes import LIMIT, Suite, free_port, poll, reactor, together
from tests.requirements import require, require_tls
from tests.test_bus import bus_peer

FEW = 64  # descriptors; a suite that nobody is connected to has about 30 open
WRONG = re.compile(r"Z (critical|error) |Traceback|Unhandled|EMFILE")
TICKS = os.sysconf("SC_CLK_TCK")


class ExhaustedTests(TestCase):
    """A suite that may open 64 files."""

    timeout = 2 * LIMIT

    async def start(self, **settings: dict[str, object]) -> Suite:
        require("prlimit")
        suite = Suite(self)
        # Those who say nothing stay to the end of the test, however slow it is.
        stay: dict[str, dict[str, object]] = {name: {"handshake_timeout": LIMIT} for name in suite.ports}
        stay["mediachat"] |= OPEN
        suite.write(**{name: own | settings.get(name, {}) for name, own in stay.items()})
        self.sockets: list[socket.socket] = []
        self.addCleanup(self.hang_up)
        await suite.spawn(launcher=("prlimit", f"--nofile={FEW}")).says("ready; data in")
        return suite

    def call(self, port: int, count: int) -> list[socket.socket]:
        """Connect so many times, and keep what comes of it."""
        made = []
        for _ in range(count):
            caller = socket.socket()
            caller.settimeout(LIMIT)
            # One that is refused before it was looked at counts as well: see `is_closed`.
            with contextlib.suppress(ConnectionResetError):
                caller.connect(("127.0.0.1", port))
            caller.setblocking(False)
            made.append(caller)
        self.sockets += made
        return made

    def hang_up(self) -> None:
        while self.sockets:
            self.sockets.pop().close()

    async def refused(self, calls: list[socket.socket], at_least: int) -> None:
        """Wait until so many have been closed by the server."""
        closed: set[int] = set()

        def look() -> bool:
            closed.update(number for number, caller in enumerate(calls) if is_closed(caller))
            return len(closed) >= at_least

        await poll(look, f"{at_least} of {len(calls)} connections are refused")

    async def occupy(self, suite: Suite) -> None:
        """Call every port more often than there are descriptors."""
        calls = [call for port in suite.ports.values() for call in self.call(port, FEW)]
        await self.refused(calls, len(calls) - FEW)

    def assert_quiet(self, suite: Suite) -> None:
        self.assertEqual([line for line in suite.log if WRONG.search(line)], [])

    async def test_the_others_go_on(self) -> None:
        """R20: who is connected is served as ever while others are refused; later those are served, too."""
        suite = await self.start()
        member, client = await join(self, suite), await come(self, suite)
        stream = await connect(self, suite.numbers)
        counting, bus = await connect(self, suite.counter), await bus_peer(self, suite)
        # Only who is answered has been accepted for sure, and who called before.
        counting.send(encode_request(0))
        await counting.total()
        bus.tell(pb.EchoMessage(content="hello"))
        await bus.until(lambda: bus.messages)
        for step in (1, 2, 3):
            await self.occupy(suite)
            member.say("ClientAppend", seq=step - 1, author="ana", content="hello")
            self.assertEqual((await member.next("ServerAck"))["entry"]["slot"], step)
            member.update(10)
            self.assertEqual(len((await member.next("ServerReply"))["entries"]), step)
            client.say(type="text", text="hello", key=str(step))
            self.assertEqual((await client.next())["status"], "saved")
            content = b"x" * 100_000 + bytes([step])
            client.begin(len(content))
            await client.send(iter([content]))
            self.assertEqual((await client.next())["status"], "saved")
            self.assertIn(sha256(content).hexdigest(), files(suite))
            counting.send(encode_request(1))
            self.assertEqual(await counting.total(), step)
            bus.tell(pb.EchoMessage(content="hello"))
            await bus.until(lambda count=step: len(bus.messages) == 1 + count)  # type: ignore[misc]
            if step == 1:
                stream.say("start", client="ana")
                self.assertEqual((await stream.message())["type"], "session")
            self.hang_up()
            await self.served(suite)
        self.assertEqual(await suite.terminate(), 0)
        self.assert_quiet(suite)

    async def served(self, suite: Suite) -> None:
        """Wait until there is room again: a new client of the counter, and of the media chat, is served."""
        while True:
            with contextlib.suppress(AssertionError):
                await add(self, suite)
                self.assertEqual((await ask(self, suite, "GET", "/"))[0], 200)
                return

    async def test_no_spinning(self) -> None:
        """R20: while all descriptors are in use and callers wait the suite is idle, and its log is still."""
        suite = await self.start()
        await self.occupy(suite)
        # Each service tells of its first ten; the log may be behind what the callers have seen.
        most = 10 * len(suite.ports)
        await suite.program.until(lambda: sum("too many files" in line for line in suite.log) >= most)
        before, begun, lines = cpu(suite), reactor.seconds(), len(suite.log)
        await deferLater(reactor, 2.0)
        self.assertLess(cpu(suite) - before, (reactor.seconds() - begun) / 2)
        self.assertEqual(suite.log[lines:], [])

    async def test_the_log_is_no_flood(self) -> None:
        """R20: a thousand callers that are refused are ten lines in ten seconds and a count of the others."""
        suite = await self.start()
        await self.occupy(suite)
        begun = reactor.seconds()
        for _ in range(20):
            calls = self.call(suite.counter, 50)
            await self.refused(calls, 50)
            for call in calls:
                call.close()
        periods = 2 + (reactor.seconds() - begun) / 10
        said = [line for line in suite.log if " counter: " in line and "too many files" in line]
        self.assertLessEqual(len(said), 10 * periods)
        self.hang_up()
        await self.served(suite)
        self.assertEqual(await suite.terminate(), 0)
        counts = await suite.program.until(
            lambda: next((line for line in suite.log if "counter: refused or" in line), None), after_end=True
        )
        self.assertGreaterEqual(int(counts.rpartition("overloaded ")[2].split(",")[0]), 1000)
        self.assert_quiet(suite)

    async def test_media(self) -> None:
        """R20: uploads and downloads without a descriptor are refused, others come whole; later all do."""
        suite = await self.start()
        clients = [await come(self, suite, id) for id in range(1, 19)]
        clients[0].begin(4)
        await clients[0].send(iter([b"1234"]))
        path = f"/media/{(await clients[0].next())['message']}"
        reader = await connect(self, suite.ports["mediachat"])
        for client in clients:
            client.begin(5, upload="one")  # whose name lets the server say that it has begun
        begun = await together(client.next() for client in clients)
        refused = [client for client, status in zip(clients, begun, strict=True) if "code" in status]
        self.assertEqual({status.get("code") for status in begun}, {None, "overloaded"})
        reader.send(head("GET", path, None))
        status, headers, _ = parsed(await reader.everything())
        self.assertEqual((status, headers["retry-after"]), (503, "5"))
        for client in clients:
            if client in refused:
                client.say(type="text", text="hello", key="one")
            else:
                await client.send(iter([b"12345"]))
            self.assertEqual((await client.next())["status"], "saved")
        for client in refused:
            client.begin(5)
            await client.send(iter([b"54321"]))
            self.assertEqual((await client.next())["status"], "saved")
        self.assertEqual((await ask(self, suite, "GET", path))[2], b"1234")
        self.assert_quiet(suite)

    async def test_behind_wrappers(self) -> None:
        """R20: it is the same with TLS and behind the PROXY protocol."""
        require_tls()
        authority = Authority(self)
        own = authority.issue("server")
        files = f"cert={own.cert}:key={own.key}"
        ports = [free_port() for _ in range(3)]
        suite = await self.start(
            numbers={"listen": f"protosuite-tls:{ports[0]}:interface=127.0.0.1:{files}"},
            counter={"listen": f"haproxy:tcp:{ports[1]}:interface=127.0.0.1"},
            bus={"listen": f"protosuite-tls:haproxy:tcp:{ports[2]}:interface=127.0.0.1:{files}"},
        )
        for port in ports:
            calls = self.call(port, 40)
            await self.refused(calls, 20)
            self.hang_up()
        while True:
            with contextlib.suppress(AssertionError):
                peer = await connect_tls(self, ports[0], authority)
                peer.say("start", client="ana")
                self.assertEqual((await peer.message())["type"], "session")
                break
        # Behind the PROXY protocol it is Twisted that runs out of descriptors, recovers, and says so.
        self.assertEqual([line for line in suite.log if WRONG.search(line) and "tcp.Port: " not in line], [])


def is_closed(caller: socket.socket) -> bool:
    try:
        return caller.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def cpu(suite: Suite) -> float:
    """Seconds of computing that a suite has used."""
    fields = Path(f"/proc/{suite.program.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
