"""``protosuite-chatlog`` as a process: in a pipe, over kills, on a log that is damaged, and on a terminal."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import re
import sqlite3
import struct
import termios
from array import array
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.processes import BIN, LIMIT, Program, Suite, Watched, free_port, poll, reactor
from tests.requirements import require_tls

PROGRAM = BIN / "protosuite-chatlog"
DAMAGED = 57  # a slot


class Fed(Program):
    """A program whose standard input stays open."""

    def connectionMade(self) -> None:
        self.feed(self._input)

    def feed(self, data: bytes) -> None:
        """Write to its standard input."""
        self.transport.write(data)

    def finish(self) -> None:
        """The end of its input."""
        self.transport.closeStdin()


def numbered(low: int, high: int) -> bytes:
    """Lines to append."""
    return "".join(f"line {n}\n" for n in range(low, high + 1)).encode()


def is_full(pipe: int) -> bool:
    """Whether nothing more goes into a pipe."""
    waiting = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return waiting[0] == fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


async def stuck(pid: int, pipe: int) -> None:
    """Wait until a process that could read from a pipe sleeps: it has slept whenever it was looked at."""
    looks = 0

    def sleeps() -> bool:
        nonlocal looks
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
        looks = looks + 1 if state == "S" and is_full(pipe) else 0
        return looks > 20

    await poll(sleeps, "it reads no more")


class ChatLogCase(TestCase):
    """A suite, and programs that use its chat log."""

    timeout = LIMIT

    async def begin(self, **settings: object) -> Suite:
        """Start a suite."""
        self.suite = Suite(self, chatlog=settings)
        await self.suite.start()
        return self.suite

    def client(self, *arguments: str | Path, input: bytes = b"", fed: bool = False) -> Any:
        """Start the program against the suite."""
        suite = self.suite
        command = (PROGRAM, "--port", str(suite.ports["chatlog"]), *arguments)
        return (Fed if fed else Program)(self, *command, folder=suite.folder, input=input)

    async def run_client(self, *arguments: str | Path, input: bytes = b"", code: int = 0) -> Program:
        """Run it to its end."""
        run: Program = self.client(*arguments, input=input)
        self.assertEqual(await run.exit(), code, run.story())
        return run

    async def contents(self, room: str) -> list[str]:
        """What is in the log of a room, verified."""
        run = await self.run_client(room, "--export")
        return [json.loads(line)["content"] for line in run.output[1:]]

    async def damage(self, statement: str, *values: str) -> None:
        """Change what is stored, behind the server's back."""
        await self.suite.terminate()
        with closing(sqlite3.connect(self.suite.data / "protosuite.sqlite3")) as connection, connection:
            connection.execute(statement, values)
        await self.suite.start()


class PipeTests(ChatLogCase):
    """Lines in, entries out."""

    async def test_lines_in_entries_out(self) -> None:
        """Each line is appended and printed, in order; it ends when all of them are."""
        await self.begin()
        run = await self.run_client("main", "--author", "ana", input=b"one\n\ntwo\r\nthree")
        self.assertEqual(run.errors, [])
        self.assertEqual(
            [re.sub(r"^\d\d:\d\d ", "", line) for line in run.output],
            [
                "ana: one",
                "ana: two",
                "ana: three",
            ],
        )
        self.assertEqual(await self.contents("main"), ["one", "two", "three"])

    async def test_json(self) -> None:
        """With --json each entry is an object with the wire's fields; --last begins before what is new."""
        await self.begin()
        await self.run_client("main", "--author", "bob", input=b"zero\none\n")
        run = await self.run_client(
            "main", "--author", "ana", "--json", "--last", "1", input="zwei ü\n".encode()
        )
        entries = [json.loads(line) for line in run.output]
        self.assertEqual(
            [(e["slot"], e["author"], e["content"]) for e in entries],
            [(2, "bob", "one"), (3, "ana", "zwei ü")],
        )
        self.assertEqual(
            set(entries[0]), {"slot", "author", "content", "at", "session", "seq", "key", "hash"}
        )

    async def test_what_cannot_be_sent(self) -> None:
        """A line that no entry can hold costs an exit code and a line that names it; the rest is sent."""
        await self.begin()
        lines = [b"good", b"\x1b[2J", b"\xff", b"x" * 20_000, b"y" * 200_000, b"better"]
        run = await self.run_client("main", input=b"\n".join(lines), code=1)
        self.assertEqual(await self.contents("main"), ["good", "better"])
        self.assertEqual(
            [line.split(":")[:2] for line in run.errors],
            [["protosuite-chatlog", f" line {n}"] for n in (2, 3, 4, 5)],
        )

    async def test_history_is_longer_than_a_reply(self) -> None:
        """--last is as many as are wanted, however few the server sends at once."""
        await self.begin(max_entries=7)
        await self.run_client("main", input=numbered(1, 100))
        run = await self.run_client("main", "--last", "50", "--json")
        self.assertEqual([json.loads(line)["slot"] for line in run.output], list(range(51, 101)))
        self.assertEqual(len((await self.run_client("main", "--last", "500")).output), 100)

    async def test_follows(self) -> None:
        """--follow prints what others append, and goes on until it is interrupted."""
        await self.begin()
        following = self.client("main", "--follow", "--last", "1", input=b"here\n")
        await following.says("here")
        await self.run_client("main", "--author", "bob", input=b"hello\nyou\n")
        await following.says("bob: you")
        self.assertEqual(len(following.output), 3)
        following.signal("INT")
        self.assertEqual(await following.exit(), 130)
        self.assertEqual(following.errors, [])

    async def test_nothing_to_read_follows(self) -> None:
        """With the null device as its input it follows, from what is new on."""
        await self.begin()
        await self.run_client("main", input=b"before\n")
        null = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, null)
        command = (PROGRAM, "--port", str(self.suite.ports["chatlog"]), "main", "--last", "1")
        following = Program(self, *command, folder=self.suite.folder, descriptors={0: null})
        await following.says("before")
        await self.run_client("main", input=b"after\n")
        await following.says("after")
        following.signal("TERM")
        self.assertEqual(await following.exit(), 143)

    async def test_input_is_not_read_ahead(self) -> None:
        """While the server is away, no more lines are taken than may wait."""
        await self.begin()
        run = self.client("main", "--follow", fed=True)
        run.feed(b"first\n")
        await run.says("first")
        await self.suite.kill()
        await run.until(lambda: any("trying again" in line for line in run.errors))
        size = 8 << 20
        run.feed(b"x" * 99 + b"\n" + numbered(2, size // 10))
        writer = run.transport.pipes[0]
        await stuck(run.pid, writer.fileno())
        # The program takes a chunk and the system's pipe holds another: what is left waits here.
        self.assertGreater(len(writer.dataBuffer) + writer._tempDataLen, size // 2)

    async def test_nobody_reads(self) -> None:
        """When what reads its output has left, it ends, without a word, also when nothing comes."""
        await self.begin()
        await self.run_client("main", input=b"one\ntwo\n")
        command = f"{PROGRAM} --port {self.suite.ports['chatlog']} main --last 2 --follow 2>errors | head -1"
        run = Program(self, "sh", "-c", command, folder=self.suite.folder)
        self.assertEqual(await run.exit(), 0, run.story())
        self.assertEqual(len(run.output), 1)
        self.assertEqual((self.suite.folder / "errors").read_text(), "")

    async def test_interrupted_while_nobody_reads(self) -> None:
        """Ctrl-C ends it also when it is stuck, because what has its output does not read."""
        await self.begin()
        await self.run_client("main", input=numbered(1, 3000))
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        command = (PROGRAM, "--port", str(self.suite.ports["chatlog"]), "main", "--last", "3000", "--json")
        run = Program(self, *command, "--follow", folder=self.suite.folder, descriptors={1: write})
        os.close(write)
        await poll(lambda: is_full(read), "the pipe is full")
        run.signal("INT")
        self.assertEqual(await run.exit(), 130, run.story())

    async def test_no_server(self) -> None:
        """Without a server it fails with one line, after the time that it was given."""
        suite = Suite(self)
        for arguments in ("main", "main --verify", "main --export"):
            options = ["--port", str(free_port()), "--timeout", "0.3", *arguments.split()]
            run = Program(self, PROGRAM, *options, folder=suite.folder, input=b"x\n")
            self.assertEqual(await run.exit(), 1, run.story())
            [line] = run.errors
            self.assertRegex(
                line, r"^protosuite-chatlog: no answer from 127.0.0.1:\d+ within 0.3 s \(cannot conn"
            )

    async def test_server_comes_late(self) -> None:
        """While there is no server one line on standard error says so; when it comes, lines are appended."""
        self.suite = suite = Suite(self)
        run = self.client("main", "--send", "--timeout", str(LIMIT), "--json", input=b"hello\n")
        line = await run.until(lambda: next(iter(run.errors), None))
        self.assertRegex(line, r"^protosuite-chatlog: 127.0.0.1:\d+ cannot be reached so far: cannot connect")
        await suite.start()
        self.assertEqual(await run.exit(), 0, run.story())
        self.assertEqual([json.loads(each)["content"] for each in run.output], ["hello"])
        self.assertEqual(len(run.errors), 1)

    async def test_tls(self) -> None:
        """With --tls it talks to a server whose certificate is trusted, and to no other."""
        require_tls()
        suite = Suite(self)
        key, certificate = suite.folder / "key.pem", suite.folder / "cert.pem"
        subject: list[str | Path] = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        files: list[str | Path] = ["-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
        make = Program(self, "openssl", "req", "-x509", *subject, *files, folder=suite.folder)
        self.assertEqual(await make.exit(), 0, make.story())
        port = suite.ports["chatlog"]
        suite.write(
            chatlog={"listen": f"ssl:{port}:interface=127.0.0.1:privateKey={key}:certKey={certificate}"}
        )
        await suite.start()
        command: list[str | Path] = [
            PROGRAM,
            "--tls",
            "--host",
            "localhost",
            "--port",
            str(port),
            "main",
            "--author",
            "ana",
        ]
        for trusted, options, code in ((certificate, [], 0), (key, ["--timeout", "1"], 1)):
            run = Program(
                self,
                *command,
                *options,
                folder=suite.folder,
                input=b"secret\n",
                environment={"SSL_CERT_FILE": str(trusted)},
            )
            self.assertEqual(await run.exit(), code, run.story())
            self.assertEqual(len(run.output), 1 - code)

    async def test_wrong_command_line(self) -> None:
        """A wrong command line is exit code 2, with what is wrong."""
        suite = Suite(self)
        for arguments, why in (("a/b", "ROOM"), ("r --from 2", "--verify"), ("", "ROOM")):
            run = Program(self, PROGRAM, *arguments.split(), folder=suite.folder)
            self.assertEqual(await run.exit(), 2)
            self.assertIn(why, run.errors[-1])
        for option in ("--help", "--version"):
            self.assertEqual(await Program(self, PROGRAM, option, folder=suite.folder).exit(), 0)


class KillTests(ChatLogCase):
    """What is killed costs nothing that was acknowledged, and nothing counts twice."""

    async def test_server(self) -> None:
        """R1: the server is killed twice while 2,000 lines are sent: each is in the log once, in order."""
        suite = await self.begin()
        run = self.client("main", "--json", fed=True)
        reader = self.client("main", "--json", "--follow", "--last", "2000")  # however late it begins
        run.feed(numbered(1, 500))
        for part in range(1, 4):
            await run.until(lambda part=part: len(run.output) > 500 * part - 400)
            if part > 1:
                await suite.kill()
            run.feed(numbered(500 * part + 1, 500 * part + 500))
            if part > 1:
                await suite.start()
        run.finish()
        self.assertEqual(await run.exit(), 0, run.story())
        expected = [f"line {n}" for n in range(1, 2001)]
        self.assertEqual([json.loads(line)["content"] for line in run.output], expected)
        self.assertEqual(await self.contents("main"), expected)
        await reader.says('"line 2000"')
        self.assertEqual([json.loads(line)["slot"] for line in reader.output], list(range(1, 2001)))

    async def test_program(self) -> None:
        """R1: the program is killed: the log has the beginning of its lines, with all that it printed."""
        await self.begin()
        run = self.client("main", "--json", input=numbered(1, 20_000))
        await run.until(lambda: len(run.output) > 300)
        await run.kill()
        found = await self.contents("main")
        self.assertGreaterEqual(len(found), len(run.output) - 1)  # the last may be cut
        self.assertEqual(found, [f"line {n}" for n in range(1, len(found) + 1)])

    async def test_reading(self) -> None:
        """A server that is killed while a log is checked and exported costs no entry and no error."""
        suite = await self.begin(max_entries=5)  # so that it takes a while
        await self.run_client("main", input=numbered(1, 3000))
        runs = [self.client("main", "--verify", "--json"), self.client("main", "--export")]
        await runs[1].until(lambda: len(runs[1].output) > 200)
        await suite.kill()
        await suite.start()
        for run in runs:
            self.assertEqual(await run.exit(), 0, run.story())
        self.assertEqual(json.loads(runs[0].output[0])["hashes"], 3000)
        self.assertEqual([json.loads(line)["slot"] for line in runs[1].output[1:]], list(range(1, 3001)))


class VerifyTests(ChatLogCase):
    """Logs that are right, and logs that are not."""

    async def test_right(self) -> None:
        """It says what it has checked, from the first slot or from a later one."""
        await self.begin()
        await self.run_client("main", input=numbered(1, 1200))
        [line] = (await self.run_client("main", "--verify")).output
        self.assertRegex(
            line,
            r"^room main, epoch [0-9a-f]{32}, first held 1: slots 1 to 1200, 1200 hashes checked, "
            r"all is right$",
        )
        run = await self.run_client("main", "--verify", "--from", "1000", "--to", "1100", "--json")
        found = json.loads(run.output[0])
        self.assertEqual(
            [found[name] for name in ("room", "first", "from", "to", "entries", "hashes", "problem")],
            [
                "main",
                1,
                1000,
                1100,
                101,
                101,
                None,
            ],
        )
        self.assertIn("no slots", (await self.run_client("empty", "--verify")).output[0])
        [line] = (await self.run_client("main", "--verify", "--from", "1201", code=1)).errors
        self.assertIn("there is no slot 1201 yet: the latest is 1200", line)

    async def test_changed(self) -> None:
        """An entry that was changed in the database is found and named; what comes after can be checked."""
        await self.begin()
        await self.run_client("main", input=numbered(1, 200))
        await self.damage(f"UPDATE chatlog_log SET content = 'forged' WHERE slot = {DAMAGED}")
        [line] = (await self.run_client("main", "--verify", code=1)).errors
        self.assertIn(f"the hash of slot {DAMAGED} is not that", line)
        run = await self.run_client("main", "--verify", "--json", code=1)
        found = json.loads(run.output[0])
        self.assertEqual((found["to"], found["hashes"]), (DAMAGED - 1, DAMAGED - 1))
        self.assertIn(f"slot {DAMAGED}", found["problem"])
        await self.run_client("main", "--verify", "--from", str(DAMAGED + 1))
        await self.run_client("main", "--verify", "--to", str(DAMAGED - 1))

    async def test_deleted(self) -> None:
        """Slots that are gone are found and named, in the middle and at the end."""
        await self.begin(max_entries=20)
        await self.run_client("main", input=numbered(1, 200))
        await self.damage("DELETE FROM chatlog_log WHERE slot > 150")
        [line] = (await self.run_client("main", "--verify", code=1)).errors
        self.assertIn("slot 151 is missing", line)
        await self.damage("DELETE FROM chatlog_log WHERE slot BETWEEN 40 AND 99")
        [line] = (await self.run_client("main", "--verify", code=1)).errors
        self.assertIn("slot 40 is missing", line)

    async def test_retention(self) -> None:
        """Where the beginning is not kept, what is left is checked, and asking for the rest is told."""
        suite = await self.begin(keep_entries=100, sweep_interval="0.1")
        await self.run_client("main", input=numbered(1, 300))
        found: dict[str, object] = {}
        while found.get("first") != 201:
            run = await self.run_client("main", "--verify", "--json")
            found = json.loads(run.output[0])
        self.assertEqual((found["from"], found["to"], found["entries"], found["hashes"]), (201, 300, 100, 99))
        [line] = (await self.run_client("main", "--verify", "--from", "5", code=1)).errors
        self.assertIn("slot 5 is not held any more: the first is 201", line)
        self.assertEqual(len(suite.runs), 1)

    async def test_export(self) -> None:
        """An export is the log: a line about it, and its entries in order; a part of it too."""
        await self.begin()
        await self.run_client("main", input=numbered(1, 1200))
        file = self.suite.folder / "log.jsonl"
        await self.run_client("main", "--export", "--output", "log.jsonl")
        printed = (await self.run_client("main", "export")).output
        self.assertEqual(file.read_text().splitlines(), printed)
        head, *entries = map(json.loads, printed)
        self.assertEqual((head["room"], head["from"], head["to"]), ("main", 1, 1200))
        self.assertEqual([e["content"] for e in entries], [f"line {n}" for n in range(1, 1201)])
        part = (await self.run_client("main", "--export", "--from", "600", "--to", "700")).output
        self.assertEqual(part[1:], printed[600:701])

    async def test_export_of_a_damaged_log(self) -> None:
        """What is not right is not exported: a file stays as it was, a pipe gets what comes before."""
        await self.begin()
        await self.run_client("main", input=numbered(1, 200))
        await self.damage(f"UPDATE chatlog_log SET author = 'eve' WHERE slot = {DAMAGED}")
        file = self.suite.folder / "log.jsonl"
        file.write_text("before")
        run = await self.run_client("main", "--export", "--output", file, code=1)
        self.assertIn("nothing has been written", run.errors[0])
        self.assertEqual(file.read_text(), "before")
        self.assertEqual([path.name for path in self.suite.folder.glob("log*")], ["log.jsonl"])
        run = await self.run_client("main", "--export", code=1)
        self.assertEqual(len(run.output), DAMAGED)
        self.assertIn(f"slot {DAMAGED}", run.errors[0])

    async def test_export_is_interrupted(self) -> None:
        """An export that is interrupted leaves nothing behind."""
        await self.begin(max_entries=1)
        await self.run_client("main", input=numbered(1, 3000))
        run = self.client("main", "--export", "--output", "log.jsonl")
        beside = self.suite.folder / f"log.jsonl.{run.pid}.new"
        await poll(beside.exists, "the half of an export")
        run.signal("INT")
        self.assertEqual(await run.exit(), 130, run.story())
        self.assertEqual(list(self.suite.folder.glob("log.jsonl*")), [])


class Screen:
    """As much of a terminal as is needed to read what a program shows: text, and where the cursor goes."""

    _ESCAPE = re.compile("\x1b\\[([?0-9;]*)[ ]?([@-~])|\x1b[()].|\x1b[^\\[()]")

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.is_full = False  # the screen of its own that a program has
        self.clear()
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def clear(self) -> None:
        self.cells = [[" "] * self.width for _ in range(self.height)]
        self.row = self.column = 0

    @property
    def lines(self) -> list[str]:
        """What is to be seen."""
        return ["".join(row).rstrip() for row in self.cells]

    def feed(self, data: bytes) -> None:
        """The program writes."""
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        position = 0
        while position < len(text):
            if text[position] != "\x1b":
                self._put(text[position])
                position += 1
            elif (match := self._ESCAPE.match(text, position)) is not None:
                self._control(match[1] or "", match[2] or "")
                position = match.end()
            else:
                self._rest = text[position:]
                return

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row = min(self.row + 1, self.height - 1)
        elif character == "\b":
            self.column = max(0, self.column - 1)
        elif character >= " ":
            self.cells[self.row][min(self.column, self.width - 1)] = character
            self.column += 1

    def _control(self, text: str, command: str) -> None:
        if text == "?1049":
            self.is_full = command == "h"
            self.clear()
            return
        numbers = [int(number) for number in text.split(";") if number.isdigit()]
        count = numbers[0] if numbers else 1
        if command in "AB":
            self.row = min(max(0, self.row + (count if command == "B" else -count)), self.height - 1)
        elif command in "CD":
            self.column = min(max(0, self.column + (count if command == "C" else -count)), self.width - 1)
        elif command == "H":
            self.row, self.column = (numbers[0] - 1, numbers[1] - 1) if len(numbers) == 2 else (0, 0)
        elif command == "K" or (command == "J" and not numbers):
            self.cells[self.row][self.column :] = [" "] * (self.width - min(self.column, self.width))
            if command == "J":
                self.cells[self.row + 1 :] = [[" "] * self.width for _ in self.cells[self.row + 1 :]]
        elif command == "J":
            self.clear()


class Terminal(Watched):
    """A pseudo terminal with a program on it. `program` has its exit code."""

    def __init__(self, case: ChatLogCase, *arguments: str, width: int = 60, height: int = 12) -> None:
        super().__init__()
        self.screen = Screen(width, height)
        self.master, self.slave = pty.openpty()
        case.addCleanup(self._close)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        os.set_blocking(self.master, False)
        reactor.addReader(self)
        self.program = Program(
            case,
            PROGRAM,
            "--port",
            str(case.suite.ports["chatlog"]),
            *arguments,
            folder=case.suite.folder,
            environment={"TERM": "xterm"},
            descriptors={0: self.slave, 1: self.slave},
        )

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    @property
    def text(self) -> str:
        """What is on the screen, wherever it is wrapped."""
        return " ".join(" ".join(self.screen.lines).split())

    async def shows(self, text: str) -> None:
        """Wait until `text` is on the screen."""
        await self.until(lambda: text in self.text or any(text in line for line in self.screen.lines))

    async def turn(self, key: str) -> None:
        """Press a key, and wait until the screen is another one."""
        before = self.screen.lines
        self.type(key)
        await self.until(lambda: self.screen.lines != before)

    def story(self) -> str:
        return "\n".join(["the screen:", *self.screen.lines, self.program.story()])

    # An IReadDescriptor.

    def fileno(self) -> int:
        return self.master

    def doRead(self) -> None:
        self.screen.feed(os.read(self.master, 65536))
        self.changed()

    def connectionLost(self, reason: object) -> None:
        """The program is gone; its exit code says how."""

    def logPrefix(self) -> str:
        return "terminal"

    def _close(self) -> None:
        reactor.removeReader(self)
        os.close(self.master)
        os.close(self.slave)


ENTER, CTRL_C, CTRL_D, PAGE_UP, PAGE_DOWN, ALT_ENTER = "\r", "\x03", "\x04", "\x1b[5~", "\x1b[6~", "\x1b\r"


class TerminalTests(ChatLogCase):
    """The full screen."""

    async def left(self, terminal: Terminal, code: int = 0) -> None:
        """The program has left, and the terminal is as it was before."""
        self.assertEqual(await terminal.program.exit(), code, terminal.story())
        await terminal.until(lambda: not terminal.screen.is_full)
        self.assertEqual(termios.tcgetattr(terminal.slave), terminal.before)

    async def test_chat(self) -> None:
        """What is typed is sent, what others say is shown, and Ctrl-D leaves the terminal as it was."""
        await self.begin()
        terminal = Terminal(self, "main", "--author", "ana")
        await terminal.shows("main · ana · connected")
        terminal.type("hello" + ENTER)
        await terminal.shows("ana: hello")
        await self.run_client("main", "--author", "bob", input=b"\tword " + b"words " * 20 + b"end")
        await terminal.shows("bob:     word")
        await terminal.shows(" end")
        terminal.type("one" + ALT_ENTER + "two" + ENTER)
        await terminal.shows("      two")
        self.assertEqual((await self.contents("main"))[::2], ["hello", "one\ntwo"])
        terminal.type(CTRL_D)
        await self.left(terminal)
        self.assertEqual(terminal.program.errors, [])

    async def test_scrolling(self) -> None:
        """Page Up goes back to the first entry of a long log, Page Down returns to what is new."""
        await self.begin(max_entries=50)
        await self.run_client("main", input=numbered(1, 300))
        terminal = Terminal(self, "main", "--last", "20")
        await terminal.shows("line 300")
        while not any(line.endswith(": line 1") for line in terminal.screen.lines):
            await terminal.turn(PAGE_UP)
        await terminal.shows("scrolled up")
        await self.run_client("main", input=b"news\nmore\n")
        await terminal.shows("2 new below")
        self.assertTrue(any(line.endswith(": line 1") for line in terminal.screen.lines), terminal.story())
        while "more" not in terminal.text:
            await terminal.turn(PAGE_DOWN)
        await terminal.until(lambda: "below" not in terminal.text)
        terminal.type(CTRL_C)
        await self.left(terminal)

    async def test_the_server_is_killed(self) -> None:
        """A lost connection is told, what is typed meanwhile waits, and is sent once it is back."""
        suite = await self.begin()
        terminal = Terminal(self, "main", "--author", "ana", height=14)
        await terminal.shows("connected")
        await suite.kill()
        await terminal.until(lambda: re.search(r", trying again in \d+ s", terminal.text))
        terminal.type("while away" + ENTER)
        await terminal.shows("1 message waiting")
        await suite.start()
        await terminal.shows("ana: while away")
        await terminal.shows("main · ana · connected")
        self.assertEqual(await self.contents("main"), ["while away"])
        terminal.type(CTRL_D)
        await self.left(terminal)

    async def test_leaving_with_messages_that_wait(self) -> None:
        """Who would lose a message is asked once more."""
        suite = await self.begin()
        terminal = Terminal(self, "main", height=14)
        await terminal.shows("connected")
        await suite.kill()
        await terminal.shows("trying")
        terminal.type("never sent" + ENTER)
        await terminal.shows("1 message waiting")
        terminal.type(CTRL_C)
        await terminal.shows("once more leaves")
        terminal.type(CTRL_C)
        await self.left(terminal, 1)
        self.assertEqual(terminal.program.errors, ["protosuite-chatlog: 1 message not acknowledged"])

    async def test_revoked(self) -> None:
        """R23: when the token is revoked the screen says so and stays with what is typed; it exits with 1."""
        suite = self.suite = Suite(self, auth={"secret_file": "keys"})
        await self.manage("init", "keys")
        await suite.start()
        token = await self.manage("make", "--role", "client", "--subject", "ana")
        (suite.folder / "token").write_text(token)
        terminal = Terminal(self, "main", "--token-file", "token", height=16)
        await terminal.shows("main · ana · connected")
        terminal.type("hello" + ENTER)
        await terminal.shows("ana: hello")
        terminal.type("half a sen")
        await self.manage("revoke", token)
        await terminal.shows("not connected")
        await terminal.shows("unauthenticated: the token has been revoked")
        terminal.type("tence" + ENTER)
        await terminal.shows("refused: the token has been revoked")
        await terminal.shows("> half a sentence")
        terminal.type(CTRL_C)
        await self.left(terminal, 1)
        self.assertIn("the token has been revoked (give a good token", terminal.program.errors[-1])

    async def manage(self, *arguments: str) -> str:
        """Run protosuite-token; what it printed."""
        command = (BIN / "protosuite-token", "--config", self.suite.config)
        run = Program(self, *command, *arguments, folder=self.suite.folder)
        self.assertEqual(await run.exit(), 0, run.story())
        return "\n".join(run.output)

    async def test_refused(self) -> None:
        """What is refused is told in the status line, and its text is in the line to write again."""
        await self.begin(max_rooms=1)
        await self.run_client("other", input=b"x\n")
        terminal = Terminal(self, "main", height=14)
        await terminal.shows("connected")
        terminal.type("my words" + ENTER)
        await terminal.shows("refused: there are 1 rooms")
        await terminal.shows("> my words")
        terminal.type(CTRL_D + CTRL_C)  # the first deletes what is right of the cursor: nothing
        await self.left(terminal)

    async def test_signals(self) -> None:
        """Ended by a signal it leaves the terminal as it was, too."""
        await self.begin()
        for name, code in (("TERM", 143), ("INT", 130)):
            terminal = Terminal(self, "main")
            await terminal.shows("connected")
            terminal.program.signal(name)
            await self.left(terminal, code)

    async def test_nothing_escapes(self) -> None:
        """Entries and names cannot move the cursor: they are shown as they are."""
        await self.begin()
        await self.run_client("main", input=b"harmless\n")
        await self.damage("UPDATE chatlog_log SET content = ?", "\x1b[2Jevil\x1b]0;title\x07 end")
        terminal = Terminal(self, "main")
        await terminal.shows("\ufffd[2Jevil\ufffd]0;title\ufffd end")
        terminal.type(CTRL_D)
        await self.left(terminal)

    async def test_lines_on_a_terminal(self) -> None:
        """With --follow there is no full screen on a terminal either."""
        await self.begin()
        terminal = Terminal(self, "main", "--follow", "--last", "1")
        await self.run_client("main", "--author", "bob", input=b"hello\n")
        await terminal.shows("bob: hello")
        self.assertFalse(terminal.screen.is_full)
        terminal.program.signal("INT")
        await self.left(terminal, 130)
