"""The process begins and ends: what it says, what it refuses, what it exits with."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from twisted.trial.unittest import TestCase

import protosuite
from protosuite.bus import bus_pb2 as pb
from protosuite.counter.wire import encode_request
from tests.chatlog_peers import join
from tests.mediachat_peers import come
from tests.peers import Peer, add, connect
from tests.processes import BIN, LIMIT, READY, Program, Suite
from tests.test_bus import bus_peer

BAD = """\
[suite]
drain_timeout = soon

[numbers]
intervall = 1
window = 0
listen = tpc:5500

[conter]
durability = always
"""


def twistd(case: TestCase, *options: str | Path) -> Program:
    """``twistd protosuite`` for one that only prints."""
    folder = Path(case.mktemp())
    folder.mkdir(parents=True)
    return Program(case, BIN / "twistd", "-n", "--pidfile=", "protosuite", *options, folder=folder)


class StartTests(TestCase):
    """A start that works."""

    timeout = LIMIT

    async def test_defaults(self) -> None:
        """With nothing but its ports and its folder set, the suite starts, listens and says where."""
        suite = Suite(self)
        await suite.start()
        await suite.program.says(f"numbers listens on tcp 127.0.0.1:{suite.numbers}")
        await suite.program.says(f"counter listens on tcp 127.0.0.1:{suite.counter}")
        await suite.program.says(f"chatlog listens on tcp 127.0.0.1:{suite.ports['chatlog']}")
        await suite.program.says(f"ready; data in {suite.data}")
        peer = await connect(self, suite.numbers)
        peer.say("start", client="ana")
        self.assertEqual((await peer.message())["type"], "session")
        self.assertEqual(await add(self, suite, 7), 7)
        member = await join(self, suite)
        member.say("ClientAppend", seq=0, author="ana", content="hello")
        self.assertEqual((await member.next("ServerAck"))["entry"]["slot"], 1)
        self.assertEqual(suite.program.errors, [])

    async def test_log(self) -> None:
        """A start and a stop are told by the suite alone: its version, where services listen, how it went."""
        suite = Suite(self, numbers={"listen": "unix:numbers.socket"})
        await suite.start()
        self.assertEqual(await suite.terminate(), 0)
        said = [line.partition(" info ")[2].strip() for line in suite.log if " warn " not in line]
        self.assertTrue(said[0].startswith(f"suite: protosuite {protosuite.__version__} with Python "), said)
        self.assertIn("suite: numbers listens on unix numbers.socket", said)
        self.assertEqual(said[-1], "suite: stopped")
        self.assertEqual({line.partition(":")[0] for line in said}, {"suite", "counter"}, said)

    async def test_json_log(self) -> None:
        """With ``--log-format json`` every line of the log is one JSON object."""
        suite = Suite(self)
        await suite.start("--log-format", "json")
        self.assertEqual(await suite.terminate(), 0)
        events = [json.loads(line) for line in suite.log]
        for event in events:
            self.assertLessEqual({"time", "level", "namespace", "message"}, event.keys())
        self.assertIn(READY, "".join(event["message"] for event in events))

    async def test_environment(self) -> None:
        """A variable of the environment overrides the file."""
        suite = Suite(self, numbers={"interval": 60, "max_messages": 1})
        await suite.spawn(environment={"PROTOSUITE_NUMBERS_INTERVAL": "2"}).says(READY)
        peer = await connect(self, suite.numbers)
        peer.say("start", client="ana")
        self.assertEqual((await peer.message())["interval_ms"], 2000)


class ConfigurationTests(TestCase):
    """A configuration is checked as a whole, and printed as a whole."""

    timeout = LIMIT

    async def test_every_error_is_named(self) -> None:
        """R38: ``--check`` exits with 1 and names each error with its line, and the name that was meant."""
        file = Path(self.mktemp())
        file.write_text(BAD)
        check = twistd(self, "--config", file.absolute(), "--check")
        self.assertEqual(await check.exit(), 1)
        found = {line.removeprefix(f"{file.absolute()}:").split(":")[0]: line for line in check.errors}
        self.assertEqual(sorted(found), ["2", "5", "6", "7", "9"], check.story())
        self.assertIn("drain_timeout = 'soon': must be a number of seconds", found["2"])
        self.assertIn("[numbers] intervall: unknown setting; did you mean interval?", found["5"])
        self.assertIn("window = '0': must be a whole number from 1", found["6"])
        self.assertIn("[numbers] listen = tpc:5500", found["7"])
        self.assertIn("unknown section [conter]; did you mean counter?", found["9"])

    async def test_a_bad_file_does_not_start(self) -> None:
        """Without ``--check`` such a file is refused alike, before anything is made."""
        suite = Suite(self)
        suite.config.write_text(f"{BAD}\n[suite]\ndata = {suite.data}\n")
        errors = await suite.refusal()
        self.assertIn("did you mean interval?", "".join(errors))
        self.assertFalse(suite.data.exists())

    async def test_print_config(self) -> None:
        """``--print-config`` prints what ``--check`` accepts, and for the defaults just suite.ini."""
        printed = twistd(self, "--print-config")
        self.assertEqual(await printed.exit(), 0)
        file = Path(self.mktemp())
        file.write_text("\n".join(printed.output) + "\n")
        check = twistd(self, "--config", file.absolute(), "--check")
        self.assertEqual(await check.exit(), 0, check.story())
        shipped = Path(protosuite.__file__).parents[1] / "suite.ini"
        self.assertEqual(file.read_text("utf-8"), shipped.read_text("utf-8"))


class RefusalTests(TestCase):
    """A start that cannot be: one line that says what to change, exit code 1, and nothing is touched."""

    timeout = LIMIT

    async def refused(self, suite: Suite) -> str:
        """The one line that a start ends with. Nothing that a programmer would read is in the log."""
        errors = await suite.refusal()
        self.assertEqual(len(errors), 1, suite.program.story())
        self.assertNotIn("Traceback", "".join(suite.log))
        return errors[0]

    async def test_busy_port(self) -> None:
        """A port that is in use is one line that names the setting."""
        first, second = Suite(self), Suite(self)
        await first.start()
        second.ports["numbers"] = first.numbers
        second.write()
        line = await self.refused(second)
        self.assertIn("[numbers] listen", line)
        self.assertIn(f"tcp:{first.numbers}", line)

    async def test_unwritable_data(self) -> None:
        """A data folder that cannot be made is one line that names the setting."""
        suite = Suite(self)
        (suite.folder / "file").write_text("")
        suite.write(suite={"data": suite.folder / "file" / "data"})
        self.assertIn("[suite] data", await self.refused(suite))

    async def test_data_in_use(self) -> None:
        """A second suite on the same data folder is refused, and the first goes on."""
        first, second = Suite(self), Suite(self)
        await first.start()
        second.write(suite={"data": first.data})
        line = await self.refused(second)
        self.assertIn("[suite] data", line)
        self.assertIn(f"process {first.program.pid}", line)
        self.assertEqual(await add(self, first, 1), 1)

    async def test_newer_database(self) -> None:
        """R7: a database of a version that is not known is refused and left byte for byte as it is."""
        suite = Suite(self)
        await suite.start()
        await add(self, suite, 5)
        await suite.terminate()
        file = suite.data / "protosuite.sqlite3"
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
        before = file.read_bytes()
        line = await self.refused(suite)
        self.assertIn("schema 9999, newer than this version", line)
        self.assertEqual(file.read_bytes(), before)

    async def test_damaged_database(self) -> None:
        """R7: a database damaged in any way is refused and left as it is; the line says what to do."""
        suite = Suite(self, counter={"durability": "always"})
        await suite.start()
        self.assertEqual(await add(self, suite, 5), 5)
        await suite.terminate()
        file = suite.data / "protosuite.sqlite3"
        whole = file.read_bytes()
        middle = len(whole) // 2 // 4096 * 4096
        for damaged in (
            b"this has never been a database\n" * 1000,
            whole[:100] + b"\xa5" * (len(whole) - 100),
            whole[:middle] + b"\xa5" * 4096 + whole[middle + 4096 :],
            whole[:middle],
            whole[:-1],
            whole[:100],
        ):
            file.write_bytes(damaged)
            line = await self.refused(suite)
            self.assertIn(f"the database {file} cannot be used", line)
            self.assertIn("restore a backup, or change [suite] database", line)
            self.assertEqual(file.read_bytes(), damaged)
        file.write_bytes(whole)
        await suite.start()
        self.assertEqual(await add(self, suite), 5)

    async def test_damaged_after_a_kill(self) -> None:
        """R7: also a damaged database with a log that is not in it yet is left as it is, its log too."""
        suite = Suite(self, counter={"durability": "always"})
        await suite.start()
        await suite.terminate()
        await suite.start()
        await add(self, suite, 5)
        await suite.kill()
        file, log = suite.data / "protosuite.sqlite3", suite.data / "protosuite.sqlite3-wal"
        whole, logged = file.read_bytes(), log.read_bytes()
        self.assertGreater(len(logged), 4096)
        file.write_bytes(damaged := whole[:-8192] + b"\xa5" * 8192)
        self.assertIn("cannot be used", await self.refused(suite))
        self.assertEqual((file.read_bytes(), log.read_bytes()), (damaged, logged))
        file.write_bytes(whole)
        await suite.start()
        self.assertEqual(await add(self, suite), 5)


LONG = {"interval": 60, "max_messages": 65535}  # of numbers: a stream that does not end meanwhile


async def served(case: TestCase, suite: Suite) -> Peer:
    """A stream whose client never closes its side. It has begun: the server knows of the connection."""
    peer = await connect(case, suite.numbers, Peer(stubborn=True))
    peer.say("start", client="stubborn")
    for name in ("session", "number"):
        case.assertEqual((await peer.message())["type"], name)
    return peer


class StopTests(TestCase):
    """Signals."""

    timeout = LIMIT

    async def test_sigterm(self) -> None:
        """R31: SIGTERM is a clean stop: exit code 0."""
        suite = Suite(self)
        await suite.start()
        self.assertEqual(await suite.terminate(), 0)
        await suite.program.says("suite: stopped")
        self.assertEqual(suite.program.errors, [])

    async def test_sigint(self) -> None:
        """SIGINT is a clean stop as well: exit code 0."""
        suite = Suite(self)
        await suite.start()
        suite.program.signal("INT")
        self.assertEqual(await suite.program.exit(), 0)

    async def test_stop_as_soon_as_it_is_ready(self) -> None:
        """R31: a stop is clean from the moment on at which the suite says that it is ready."""
        for name in ("TERM", "INT") * 4:
            suite = Suite(self)
            run = suite.spawn()
            await run.says(READY)
            run.signal(name)
            self.assertEqual(await run.exit(), 0, run.story())
            await run.says("suite: stopped")

    async def test_clients_are_told(self) -> None:
        """R31: at a stop each client is told, or gets what it is owed, in the way of its service."""
        suite = Suite(self, numbers=LONG)
        await suite.start()
        stream, counting = await connect(self, suite.numbers), await connect(self, suite.counter)
        member, client, bus = await join(self, suite), await come(self, suite), await bus_peer(self, suite)
        bus.tell(pb.EchoMessage(content="hello"))
        stream.say("start", client="ana")
        counting.send(encode_request(3))
        self.assertEqual(await counting.total(), 3)
        self.assertEqual([(await stream.message())["type"] for _ in range(2)], ["session", "number"])
        self.assertEqual(await suite.terminate(), 0)
        self.assertEqual((await stream.message())["code"], "shutting-down")
        self.assertEqual(await stream.everything(), b"")
        self.assertEqual(await counting.everything(), b"")
        self.assertEqual([await member.end(), await client.end()], [1001, 1001])
        await bus.gone()
        self.assertEqual(bus.messages[0], pb.EchoMessage(content="hello"))
        self.assertEqual([message.code for message in bus.messages[1:]], ["shutting-down"])

    async def test_second_sigterm(self) -> None:
        """A second SIGTERM ends at once, with a code that is not 0, a stop that waits for its clients."""
        suite = Suite(self, suite={"drain_timeout": 600}, numbers={**LONG, "close_timeout": 600})
        await suite.start()
        peer = await served(self, suite)
        suite.program.signal("TERM")
        self.assertEqual((await peer.message())["code"], "shutting-down")
        await peer.everything()
        self.assertIsNone(suite.program.code)
        self.assertNotEqual(await suite.terminate(), 0)
        self.assertNotIn("stopped", "".join(suite.log))

    async def test_drain_timeout(self) -> None:
        """A client that never closes its side is cut off after the drain's time, and the stop is clean."""
        suite = Suite(self, suite={"drain_timeout": 0.2}, numbers={**LONG, "close_timeout": 600})
        await suite.start()
        await served(self, suite)
        self.assertEqual(await suite.terminate(), 0)
        await suite.program.says("1 connections did not finish in time and are cut off")
