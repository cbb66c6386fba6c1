"""The benchmarks: that each row runs and its answers are right, and that a wrong answer is found."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from benchmarks import publish, report
from benchmarks.bench import Bench, Figures, Missing, NotYet
from benchmarks.comparing import Goal, Result, Row, Side, Spread
from benchmarks.growth import LEAST, STEEPEST, WORST, Growth, GrowthResult, Peer, each, in_words
from benchmarks.loading import Load
from benchmarks.loads.echo import message
from benchmarks.loads.measuring import WrongAnswer, histogram, quantile
from benchmarks.loads.redis import command
from benchmarks.loads.spreading import Stream
from benchmarks.loads.spreads import Channel
from benchmarks.loads.websocket import Frames
from benchmarks.rows import ROWS
from tests.processes import LIMIT, Program, reactor
from tests.requirements import require, require_postgresql

ROOT = Path(__file__).parent.parent

# Those that one process of the tests runs after the other.
FAMILIES = {
    "counter": "counter-1 counter-1-workers counter-16 counter-256 counter-always",
    "chatlog": "chatlog-append chatlog-append-redis chatlog-fanout",
    "mediachat": "mediachat-text mediachat-upload mediachat-download",
    "bus": "bus-echo-1 bus-echo-16 bus-echo-16-gathered bus-fanout",
    "many": "numbers-streams idle idle-mediachat start",
    "growth": "growth-rooms growth-memory growth-history-chatlog growth-history-mediachat",
    "connections": "growth-connections growth-connections-16",
    "nodes": "nodes-append-one-room nodes-share-one-room nodes-append",
    "more-nodes": "nodes-fanout nodes-counter nodes-numbers",
}
UPGRADE = b"HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


class QuickTests(TestCase):
    """``python -m benchmarks --quick``."""

    timeout = 3 * LIMIT  # it runs many programs, one after the other

    async def run_rows(self, *rows: str, **environment: str) -> tuple[Program, Path]:
        """The run, at its end, and the folder that it wrote to."""
        out = Path(self.mktemp()).absolute()
        arguments = ("-m", "benchmarks", "--quick", "--out", str(out), *rows)
        program = Program(self, sys.executable, *arguments, folder=ROOT, environment=environment)
        await program.exit()
        return program, out

    async def see(self, family: str) -> None:
        """Run the rows of a family: each has a figure of ours, or says why not."""
        names = FAMILIES[family].split()
        strict = os.environ.get("PROTOSUITE_REQUIRE_ALL", "")
        program, out = await self.run_rows(*names, PROTOSUITE_REQUIRE_ALL=strict)
        self.assertEqual(program.code, 0, program.story())
        told = json.loads((out / "results.json").read_text())
        self.assertEqual([row["name"] for row in told["rows"]], names)
        for row in told["rows"]:
            runs = row["points"] if "points" in row else row["ours"]["runs"]
            if not row["note"].startswith("not yet"):
                self.assertTrue(runs and all(run["value"] > 0 for run in runs), row)
                self.assertTrue(row["commands"], row)
        self.assertEqual([path.name for path in out.iterdir() if path.name.startswith("run-")], [])

    def test_families(self) -> None:
        """Every row is in one of the families, so every row is run."""
        named = [name for names in FAMILIES.values() for name in names.split()]
        self.assertEqual(sorted(named), sorted(ROWS))

    async def test_counter(self) -> None:
        """The rows of the counter run, and the counter stands in the end at what was added."""
        await self.see("counter")

    async def test_chatlog(self) -> None:
        """The rows of rooms run, and every entry comes to everybody as it was said."""
        await self.see("chatlog")

    async def test_mediachat(self) -> None:
        """The rows of the media chat run, and every byte that was sent is stored and comes back."""
        await self.see("mediachat")

    async def test_bus(self) -> None:
        """The rows of the bus run, and every echo and every event is what was sent."""
        await self.see("bus")

    async def test_many(self) -> None:
        """The rows of many streams and idle connections run, and that of the start."""
        await self.see("many")

    async def test_growth(self) -> None:
        """The rows of growth run."""
        await self.see("growth")

    async def test_connections(self) -> None:
        """How the counter's cost grows with connections."""
        await self.see("connections")

    async def test_nodes(self) -> None:
        """The rows of several nodes run, and say what these ask of PostgreSQL and Redis."""
        require_postgresql()
        require("redis-server")
        await self.see("nodes")

    async def test_more_nodes(self) -> None:
        """The rows of what several nodes tell run, and what comes is what was said."""
        require_postgresql()
        require("redis-server")
        await self.see("more-nodes")

    async def test_missing_peer(self) -> None:
        """A row whose peer is not there says what to install, and measures ours; in CI it fails instead."""
        lacking = {"PATH": str(Path(sys.executable).parent)}
        program, out = await self.run_rows("counter-always", **lacking)
        self.assertEqual(program.code, 0, program.story())
        (row,) = json.loads((out / "results.json").read_text())["rows"]
        self.assertIn("apt-get install redis-server", row["note"])
        self.assertEqual((len(row["ours"]["runs"]), len(row["theirs"]["runs"])), (1, 0))
        program, _ = await self.run_rows("counter-always", **lacking, PROTOSUITE_REQUIRE_ALL="1")
        self.assertEqual(program.code, 1, program.story())
        self.assertIn("apt-get install redis-server", program.story())

    async def test_unknown_row(self) -> None:
        """A row that there is not is refused with the names of those that there are."""
        program, _ = await self.run_rows("counter-2")
        self.assertEqual(program.code, 2, program.story())
        self.assertIn("unknown row counter-2", program.story())


class PublishTests(SynchronousTestCase):
    """What the documentation shows."""

    def results(self, *rows: Row | Growth) -> dict[str, Any]:
        """As they are in the file of a run."""
        bench = Bench(False, 1.0, 3, Path(self.mktemp()))
        path = Path(self.mktemp())
        report.write(path, {"processor": "fast"}, False, [row.run(bench) for row in rows])
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return told

    def test_page(self) -> None:
        """The tables of the documentation are those that follow from the results beside them."""
        others = ("another-machine", "several-nodes")
        for folder in (publish.FOLDER, *map(publish.FOLDER.with_name, others)):
            path = folder / "results.json"
            if path.exists():
                told = json.loads(path.read_text("utf-8"))
                self.assertFalse(told["quick"])
                found = (folder / publish.TABLES).read_text("utf-8")
                self.assertEqual(found, publish.tables(told, folder.name))
                there = {picture.name for picture in folder.glob("*.png")}
                self.assertEqual(there, set(publish.pictures(told)))

    def test_tables(self) -> None:
        """A row has both medians, the ratio with its spread, whether its goal is met; growth its sizes."""
        figures = iter((10.0, 2.0, 30.0, 3.0, 40.0, 20.0))
        a, b = (
            Side(name, lambda bench: Figures(next(figures), {"server CPU µs each": 7.0})) for name in "ab"
        )
        row = Row("up", "work", "/s", a, b, (Goal("ratio", at_least=6),))
        growth = Growth(
            "wide",
            "work",
            "ms",
            "n",
            (1, 2000),
            (1,),
            each(lambda bench, n: Figures(n, {"stones": 77.0, "bones": 88.0})),
            beside=("stones",),
        )
        text = publish.tables(self.results(row, growth), "pictures")
        for part in (
            ":processor: fast",
            "``up``",
            "- 30",
            "- 3 (b)",
            "5 (2 … 10)",
            "ratio ≥ 6: **not met**",
            "7, 7",
            "2,000",
            "- stones",
            "- 77",
            "pictures/ratios.png",
            "pictures/wide.png",
            "$ python -m benchmarks up",
        ):
            self.assertIn(part, text)
        self.assertNotIn("bones", text)

    def test_some_rows(self) -> None:
        """What was measured before stays beside what is measured now, unless that was another machine."""
        bench, path = Bench(False, 1.0, 1, Path(self.mktemp())), Path(self.mktemp())

        def measure(name: str, value: float, machine: str, commit: str, quick: bool = False) -> list[Any]:
            row = Row(name, "work", "/s", Side("a", lambda bench: Figures(value)))
            report.write(path, {"processor": machine, "commit": commit}, quick, [row.run(bench)])
            rows = json.loads(path.read_text("utf-8"))["rows"]
            return [(row["name"], row["ours"]["runs"][0]["value"], row["commit"]) for row in rows]

        measure("start", 1, "fast", "old")
        measure("counter-1", 2, "fast", "old")
        found = measure("start", 3, "fast", "new")
        self.assertEqual(found, [("counter-1", 2, "old"), ("start", 3, "new")])
        self.assertEqual(measure("start", 4, "slow", "new"), [("start", 4, "new")])
        self.assertEqual(measure("counter-1", 5, "slow", "new", quick=True), [("counter-1", 5, "new")])
        self.assertEqual(measure("start", 6, "slow", "new"), [("start", 6, "new")])

    def test_quick(self) -> None:
        """The figures of a quick run are not published."""
        source, target = Path(self.mktemp()), Path(self.mktemp())
        report.write(source / "results.json", {}, True, [])
        self.patch(sys, "argv", ["publish", "--source", str(source), "--target", str(target)])
        self.patch(sys, "stderr", StringIO())
        self.assertEqual(publish.main(), 1)
        self.assertFalse(target.exists())


class Liar(Protocol):
    """Opens a WebSocket if it is asked to, and answers everything else with the same bytes."""

    transport: Any

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def dataReceived(self, data: bytes) -> None:
        if data.startswith(b"GET ") and b"Upgrade" in data:
            self.transport.write(UPGRADE)
        elif self.answer:
            self.transport.write(self.answer)
        else:
            self.transport.loseConnection()


class Slow(Protocol):
    """Gives these answers, one to whatever comes, and a byte each time that the reactor has a turn."""

    transport: Any

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = iter(answers)

    def dataReceived(self, data: bytes) -> None:
        self._send(next(self._answers))

    def _send(self, rest: bytes) -> None:
        self.transport.write(rest[:1])
        if rest[1:]:
            reactor.callLater(0.001, self._send, rest[1:])


def frame(text: bytes) -> bytes:
    """A text message as a server sends it."""
    return b"\x81%c%s" % (len(text), text)


# The name of a load, its options, an answer that is wrong, and what is said of it.
LIES: list[tuple[str, dict[str, Any], bytes, str]] = [
    ("increments", {"depth": 1}, (5).to_bytes(8, "big"), "the counter went from 5 to 5"),
    ("increments", {"depth": 2}, (5).to_bytes(8, "big") * 2, "did not rise"),
    ("increments", {"depth": 2, "different": True}, b"".join(n.to_bytes(8, "big") for n in (5, 6)), "rise"),
    ("increments", {"depth": 1}, (5).to_bytes(8, "big") * 2, "nobody asked for"),
    ("increments", {"depth": 1}, b"", "the server closed a connection"),
    ("redis-incrby", {"depth": 1}, b":5\r\n", "Redis went from 5"),
    ("redis-incrby", {"depth": 1}, b"-ERR no\r\n", "-ERR no"),
    ("redis-xadd", {"depth": 1, "content": 5}, b"$3\r\n5-1\r\n", "an id after (5, 1)"),
    ("echoes", {"depth": 1}, message("echo 000001 of connection 000000"), "is not the echo"),
    ("appends", {"depth": 1, "content": 1}, frame(b'{"type":"ServerAck","entry":{}}'), "append 0 became"),
    ("appends", {"depth": 1, "content": 1}, frame(b'{"type":"Error","code":"gap"}'), "append 0 became"),
    ("appends", {"depth": 1, "content": 1}, b"\x88\x02\x0f\xa8", "the server closed a WebSocket"),
    ("texts", {"depth": 1, "content": 30}, frame(b'{"status":"discarded","message":1}'), "discarded"),
    ("texts", {"depth": 1, "content": 30}, frame(b'{"status":"saved","message":1}'), "after message 1 came"),
    ("uploads", {"size": 100}, frame(b'{"status":"error"}'), "an upload became"),
    ("streams", {"streams": 1}, b'{"type":"end","count":0,"checksum":5}\n', "checksum is 1"),
    ("streams", {"streams": 1}, b'{"type":"number","index":1,"value":5}\n', "number 0 came as"),
    ("room", {"readers": 1, "window": 1, "content": 1, "update": True}, frame(b"{}"), "to a ClientUpdate"),
    ("topic", {"readers": 1, "window": 1, "content": 1}, message("here!"), "to an echo came"),
    ("channel", {"readers": 1, "window": 1, "content": 1}, b"-" * 99, "to SUBSCRIBE came"),
    ("idle", {"path": "/{}", "greeting": "UTC"}, b"\x88\x02\x0f\xa8", "the server closed a WebSocket"),
]


class LieTests(TestCase):
    """A load gives no figure where an answer was wrong."""

    timeout = 3 * LIMIT  # it runs many programs, one after the other

    async def told(self, name: str, options: dict[str, Any], answer: bytes) -> str:
        """What a load says of a server that always gives the same answer."""
        factory = Factory.forProtocol(lambda: Liar(answer))
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        options = {"port": port.getHost().port, "seconds": 30, "first": 0, "connections": 1, **options}
        load = Program(self, sys.executable, "-m", "benchmarks.loads", name, json.dumps(options), folder=ROOT)
        self.assertEqual(await load.exit(), 1, load.story())
        self.assertEqual(load.output, [])
        return "\n".join(load.errors)

    async def test_lies(self) -> None:
        """Whatever a server answers wrongly, each load says what was wrong and exits with 1."""
        for name, options, answer, said in LIES:
            self.assertIn(said, await self.told(name, options, answer), (name, answer))

    async def test_pieces(self) -> None:
        """An answer that comes in pieces is one answer."""
        for name, answers in (
            ("increments", [number.to_bytes(8, "big") for number in range(1, 1000)]),
            ("redis-incrby", [b":%d\r\n" % number for number in range(1, 1000)]),
        ):
            factory = Factory.forProtocol(partial(Slow, answers))
            factory.noisy = False
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            options = {"port": port.getHost().port, "seconds": 0.1, "connections": 2, "depth": 1, "first": 0}
            load = Program(
                self, sys.executable, "-m", "benchmarks.loads", name, json.dumps(options), folder=ROOT
            )
            self.assertEqual(await load.exit(), 0, load.story())
            told = json.loads(load.output[0])
            self.assertEqual(told["total"], told["more"]["sum"])
            self.assertGreater(told["total"], 2)

    async def test_download(self) -> None:
        """A file that comes back with one byte changed is no download."""
        source = Path(self.mktemp()).absolute()
        source.write_bytes(b"x" * 2_000_000)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"
        body = b"x" * 1_999_999 + b"y"
        said = await self.told("downloads", {"paths": ["/"], "source": str(source)}, head + body)
        self.assertIn("MiB 1 of a file is not what was stored", said)
        said = await self.told(
            "downloads", {"paths": ["/"], "source": str(source)}, b"HTTP/1.1 404 No\r\n\r\n"
        )
        self.assertIn("404", said)


class SpreadingTests(SynchronousTestCase):
    """What many readers get is checked once, and compared for the rest."""

    def setUp(self) -> None:
        channel = Channel({"port": 0, "content": 3})
        self.messages = [command(b"message", b"bench.events", b"%03d" % number) for number in range(3)]
        self.stream = Stream(channel)

    def test_cut_anywhere(self) -> None:
        """Readers may be at any place: who is ahead is checked, who follows is compared."""
        whole = b"".join(self.messages)
        for cut in range(len(whole) + 1):
            stream = Stream(Channel({"port": 0, "content": 3}))
            stream.take(0, whole[:cut])
            stream.take(0, whole)
            stream.take(cut, whole[cut:])
            self.assertEqual(stream.ends, [len(self.messages[0]) * count for count in (1, 2, 3)])

    def test_wrong_message(self) -> None:
        """A message that is left out, or comes twice, is found."""
        with self.assertRaises(WrongAnswer):
            self.stream.take(0, self.messages[0] + self.messages[2])
        with self.assertRaises(WrongAnswer):
            Stream(Channel({"port": 0, "content": 3})).take(0, self.messages[0] * 2)

    def test_different_bytes(self) -> None:
        """A reader that gets other bytes than the others is found."""
        self.stream.take(0, b"".join(self.messages))
        with self.assertRaises(WrongAnswer):
            self.stream.take(0, self.messages[1])

    def test_frames_cut_anywhere(self) -> None:
        """The frames of a server are the same however their bytes are cut."""
        lengths = {5: b"\x05", 200: b"\x7e\x00\xc8", 70_000: b"\x7f\x00\x00\x00\x00\x00\x01\x11\x70"}
        for size, length in lengths.items():
            data = b"\x81" + length + b"x" * size + b"\x8a\x00"
            for cut in (*range(20), len(data) - 3, len(data) - 1):
                frames = Frames()
                found = [*frames.feed(data[:cut]), *frames.feed(data[cut:])]
                self.assertEqual(found, [(1, b"x" * size), (10, b"")], (size, cut))
                self.assertEqual(frames.rest, b"")


class FigureTests(SynchronousTestCase):
    """The arithmetic."""

    def bench(self) -> Bench:
        """Three pairs of a second."""
        return Bench(False, 1.0, 3, Path(self.mktemp()))

    def test_commands(self) -> None:
        """A command names no folder of whoever measured."""
        bench = Bench(False, 1.0, 3, Path("/somewhere/else"))
        bench.says([ROOT / "build" / "peers" / "go"], {"DATA": "/somewhere/else/run-1"})
        bench.says(["python", ROOT / "build" / "peers" / "x"])
        self.assertEqual(bench.said(), ["DATA=build/bench/run-1 go", "python build/peers/x"])

    def test_turns(self) -> None:
        """Ours and theirs take turns, and the ratio is the median of those of each pair, with its spread."""
        turns: list[str] = []
        figures = {"ours": iter((10.0, 20.0, 60.0)), "theirs": iter((10.0, 10.0, 20.0))}

        def side(name: str) -> Side:
            def run(bench: Bench) -> Figures:
                turns.append(name)
                bench.says([name])
                return Figures(next(figures[name]), {"p99 ms": 2.0 if name == "ours" else 4.0})

            return Side(name, run)

        row = Row("row", "work", "/s", side("ours"), side("theirs"), (Goal("ratio", at_least=2.1),))
        bench = self.bench()
        result = row.run(bench)
        self.assertEqual(turns, ["ours", "theirs"] * 3)
        self.assertEqual(result.commands, {"ours": ["ours"], "theirs": ["theirs"]})
        self.assertEqual(bench.said(), [])
        measures = result.measures()
        self.assertEqual(measures["ratio"], Spread(2.0, 1.0, 3.0))
        self.assertEqual(measures["ratio of p99 ms"].median, 0.5)
        self.assertEqual([is_met for _, is_met in result.verdicts()], [False])

    def test_goals(self) -> None:
        """A goal is met at its bound, and not beyond it; one that nothing was measured for is not judged."""
        self.assertTrue(Goal("ratio", at_least=0.8).is_met(0.8))
        self.assertFalse(Goal("ratio", at_least=0.8).is_met(0.79))
        self.assertTrue(Goal("ratio", at_most=1.5).is_met(1.5))
        self.assertFalse(Goal("ratio", at_most=1.5).is_met(1.51))
        row = Row(
            "row", "work", "/s", Side("ours", lambda bench: Figures(1)), goals=(Goal("ratio", at_least=1),)
        )
        self.assertEqual(list(Result(row, ours=[Figures(1)]).verdicts()), [])

    def test_not_there(self) -> None:
        """What does not exist yet, and a peer that is not there, are notes and not failures."""

        def not_yet(bench: Bench) -> Figures:
            raise NotYet("no workers")

        def missing(bench: Bench) -> Figures:
            raise Missing("counter-go", "apt-get install golang-go")

        ours = Side("ours", lambda bench: Figures(1))
        self.assertEqual(
            Row("row", "work", "/s", Side("x", not_yet)).run(self.bench()).note, "not yet: no workers"
        )
        result = Row("row", "work", "/s", ours, Side("theirs", missing)).run(self.bench())
        self.assertEqual((len(result.ours), result.theirs), (3, []))
        self.assertIn("golang-go", result.note)

    def test_growth(self) -> None:
        """How far the worst is from the best, and the most from the first, is what growth is judged by."""
        goals = (Goal(WORST, at_least=0.6), Goal(STEEPEST, at_most=1.5))
        growth = Growth(
            "row", "work", "ms", "n", (1, 2, 3), (1,), each(lambda bench, size: Figures(size)), goals
        )
        result = growth.run(self.bench())
        self.assertEqual([figures.value for figures in result.points.values()], [1, 2, 3])
        self.assertEqual([is_met for _, is_met in result.verdicts()], [False, False])
        even = GrowthResult(growth, {1: [Figures(2)], 2: [Figures(2)], 3: [Figures(3)]})
        self.assertEqual([is_met for _, is_met in even.verdicts()], [True, True])

    def test_growth_in_several_runs(self) -> None:
        """Each size is measured as often as it says, and judged by the median, what stands beside as well."""
        values = iter((5.0, 1.0, 2.0))
        take = each(lambda bench, size: Figures(next(values), {"p99 ms": 7}), 3)
        peer = Peer("Go", lambda bench, size: Figures(2))
        row = Growth("row", "work", "/s", "n", (1,), (1,), take, (), ("Go", "of Go"), peer)
        point = row.run(self.bench()).points[1]
        beside = {"least": 1, "most": 5, "p99 ms": 7, "Go": 2, "of Go": 1}
        self.assertEqual((point.value, point.more), (2, beside))
        self.assertEqual(in_words(point.value, point.more), "2 (1 … 5)")
        self.assertEqual(in_words(1234.5, {}), "1,234")

    def test_growth_beside_another(self) -> None:
        """What stands beside is judged, too, if it was measured at every size, and may be nothing."""
        goals = Goal(LEAST.format("of Go"), at_least=0.8), Goal(f"{WORST}, of Go", at_least=0.6)

        def measured(least: float) -> Growth:
            take = each(lambda bench, size: Figures(size, {"of Go": least} if size == 2 else {"of Go": 1}))
            return Growth("row", "work", "/s", "n", (1, 2, 3), (1,), take, goals, ("of Go",))

        for least, met in ((0.9, [True, True]), (0.7, [False, True]), (0.5, [False, False])):
            result = measured(least).run(self.bench())
            self.assertEqual(list(result.verdicts()), list(zip(goals, met, strict=True)))
        result.runs[3] = [Figures(3)]
        self.assertEqual(list(result.verdicts()), [])
        result.runs = {size: [Figures(1, {"of Go": 0.0})] for size in (1, 2, 3)}
        self.assertEqual([is_met for goal, is_met in result.verdicts() if goal == goals[0]], [False])

    def test_growth_without_the_other(self) -> None:
        """Who is not on the machine is named, and ours is measured; who is stands beside it."""

        def missing(bench: Bench, size: int) -> Figures:
            asked.append(size)
            raise Missing("counter-go", "apt-get install golang-go")

        asked: list[int] = []
        take = each(lambda bench, size: Figures(size))
        for peer, shares in (
            (Peer("Go", missing), [None, None]),
            (Peer("Go", lambda bench, size: Figures(4 * size)), [0.25, 0.25]),
        ):
            row = Growth("row", "work", "/s", "n", (1, 2), (1,), take, (), ("Go", "of Go"), peer)
            result = row.run(self.bench())
            self.assertEqual([each.value for each in result.points.values()], [1, 2])
            self.assertEqual([each.more.get("of Go") for each in result.points.values()], shares)
            self.assertEqual("golang-go" in result.note, shares == [None, None])
        self.assertEqual(asked, [1])

    def test_quantiles(self) -> None:
        """Latencies of several loads are added up, and a quantile is right to within a fiftieth."""
        counts = histogram(n / 1000 for n in range(1, 1001))
        for share in (0.01, 0.5, 0.99):
            self.assertLess(abs(quantile(counts, share) / share - 1), 0.022)
        self.assertEqual(quantile({}, 0.5), 0.0)

    def test_parts(self) -> None:
        """The connections of a load are divided among its processes, and none is left without any."""
        parts = Load("x", {"connections": 5}, processes=2).parts()
        self.assertEqual([(part["first"], part["connections"]) for part in parts], [(0, 2), (2, 3)])
        self.assertEqual(len(Load("x", {"connections": 1}, processes=2).parts()), 1)
        self.assertEqual(len(Load("x", {"paths": []}, processes=2).parts()), 2)
