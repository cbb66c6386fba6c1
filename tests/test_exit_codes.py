"""The table of exit codes: every row happens, to every program that it is about."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.peers import connect
from tests.processes import BIN, LIMIT, Program, Suite, free_port, poll, together
from tests.test_documentation import DOCS, of_docs

SUITE = "twistd protosuite"
WRONG = {"protosuite-chatlog": ("a room",), "protosuite-mediachat": ("--client", "0", "history")}
# What fails where no server, no key and no backup is.
FAILING: dict[str, Sequence[str]] = {
    "protosuite-cert": ("server", "nowhere", "localhost"),
    "protosuite-migrate": (
        "--from",
        "sqlite:///none.sqlite3",
        "--to",
        "postgresql+psycopg://x@127.0.0.1:1/x",
    ),
    "protosuite-numbers": ("--state", "."),
    "protosuite-counter": ("--timeout", "0.2", "get"),
    "protosuite-bus": ("--timeout", "0.2", "echo", "x"),
    "protosuite-chatlog": ("main", "--timeout", "0.2", "--send"),
    "protosuite-mediachat": ("--timeout", "0.2", "history"),
    "protosuite-token": ("make", "--role", "client", "--subject", "ana"),
    "protosuite-backup": ("--verify", "none.tar"),
}
# What goes on until somebody ends it: they wait for a server.
WAITING: dict[str, Sequence[str]] = {
    "protosuite-numbers": ("--client", "ana"),
    "protosuite-counter": ("--timeout", "100", "get"),
    "protosuite-bus": ("--timeout", "100", "echo", "x"),
    "protosuite-chatlog": ("main", "--timeout", "100", "--send"),
    "protosuite-mediachat": ("--timeout", "100", "say", "x"),
}


def as_in_a_shell(run: Program) -> str:
    """The exit code of a program that has ended: 128 more than the number of the signal, if one ended it."""
    assert run.code is not None
    return str(run.code if run.code >= 0 else 128 - run.code)


def accepted(server: socket.socket) -> socket.socket | None:
    """A connection, if there is one."""
    with contextlib.suppress(BlockingIOError):
        return server.accept()[0]
    return None


class ExitCodeTests(TestCase):
    """The codes of real processes. One that a signal ends is what a shell makes of it: 128 more."""

    timeout = 3 * LIMIT  # it runs many programs, one after the other

    def setUp(self) -> None:
        page = (DOCS / "reference" / "exit-codes.rst").read_text("utf-8")
        self.told = set(re.findall(r"^(\d+) +(all|programs|twistd protosuite)  ", page, re.MULTILINE))
        self.programs = sorted(of_docs("commandlines").PROGRAMS)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def start(self, name: str, *arguments: str) -> Program:
        """A program."""
        return Program(self, BIN / name, *arguments, folder=self.folder, input=b"x\n")

    async def ended(self, name: str, sign: str) -> str:
        """What a program ends with that is sent a signal while it waits for a silent server's answer."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            run = self.start(name, "--port", str(server.getsockname()[1]), *WAITING[name])
            connection = await poll(partial(accepted, server), f"{name} connects")
            run.signal(sign)
            await run.exit()
            connection.close()
            return as_in_a_shell(run)

    async def test_programs(self) -> None:
        """Each program ends with 0, 1 and 2 for what the table says."""
        self.assertEqual(sorted(FAILING), self.programs)
        for code, lines in (("0", dict.fromkeys(self.programs, ("--version",))), ("1", FAILING)):
            self.assertTrue({(code, "all"), (code, "programs")} & self.told)
            for name, arguments in lines.items():
                server = ("--port", str(free_port())) if name in WAITING and code == "1" else ()
                run = self.start(name, *server, *arguments)
                await run.exit()
                self.assertEqual(as_in_a_shell(run), code, run.story())
                self.assertEqual(len(run.errors) > 0, code == "1", run.story())
        self.assertIn(("2", "programs"), self.told)
        for name in self.programs:
            run = self.start(name, *WRONG.get(name, ("--no-such-option",)))
            self.assertEqual(await run.exit(), 2, run.story())

    async def test_output(self) -> None:
        """Output that cannot be written is 1, and a line that says so; nobody to read it is 1 without one."""
        suite = Suite(self, numbers={"interval": 0.01}, mediachat={"hours_text": "always"})
        await suite.start()
        for name, arguments in (
            ("numbers", "--client ana"),
            ("counter", "get"),
            ("bus", "echo x"),
            ("chatlog", "main --export"),
            ("mediachat", "say x"),
        ):
            line = f"{BIN}/protosuite-{name} --port {suite.ports[name]} {arguments}"
            for end, said in (
                ("> /dev/full", [f"protosuite-{name}: cannot write: No space left on device"]),
                ("| true; exit ${PIPESTATUS[0]}", []),
            ):
                run = Program(self, "bash", "-c", f"{line} {end}", folder=self.folder)
                self.assertEqual((await run.exit(), run.errors), (1, said), run.story())

    async def test_signals(self) -> None:
        """SIGINT and SIGTERM are 130 and 143, SIGKILL is 137, for all that wait for a server."""
        for name, code, who in (
            ("INT", "130", "programs"),
            ("TERM", "143", "programs"),
            ("KILL", "137", "all"),
        ):
            self.assertIn((code, who), self.told)
            codes = await together(self.ended(program, name) for program in WAITING)
            self.assertEqual(dict(zip(WAITING, codes, strict=True)), dict.fromkeys(WAITING, code))

    async def test_suite(self) -> None:
        """The suite ends with 0, 1, 130, 143 and 137 for what the table says."""
        suite = Suite(self, suite={"drain_timeout": "100", "services": "counter"})
        for signals, code, who in (
            (("TERM",), "0", "all"),
            (("INT", "INT"), "130", SUITE),
            (("TERM", "TERM"), "143", SUITE),
            (("KILL",), "137", "all"),
        ):
            self.assertIn((code, who), self.told)
            await suite.start()
            if len(signals) == 2:  # somebody who does not leave keeps the first from being the end
                peer = await connect(self, suite.counter)
                peer.stubborn = True
                peer.send(bytes(8))
                suite.program.signal(signals[0])
                await suite.program.says("suite: stopping")
            suite.program.signal(signals[-1])
            await suite.program.exit()
            self.assertEqual(as_in_a_shell(suite.program), code, suite.program.story())
        self.assertIn(("1", SUITE), self.told)
        await suite.refusal("--no-such-option")
        suite.write(counter={"listen": "nonsense"})
        self.assertEqual(len(await suite.refusal()), 1)
