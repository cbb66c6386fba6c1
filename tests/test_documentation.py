"""What the documentation makes from the code is what a suite does, and its pages say nothing else."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from configparser import ConfigParser
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

import protosuite
from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import FROM_SERVER, Decoder, encode_request
from tests.peers import connect
from tests.processes import LIMIT, Suite

DOCS = Path(__file__).parent.parent / "docs"


def of_docs(name: str) -> Any:
    """A module of the documentation's build."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(DOCS))


class FrameTests(TestCase):
    """The bytes on the pages of counter/1 and bus/1."""

    timeout = LIMIT

    async def test_counter(self) -> None:
        """A new counter answers the requests of its page with the replies of its page."""
        page = of_docs("frames").CounterTalk
        suite = Suite(self)
        await suite.start()
        lines = page.lines()
        sent, got = (
            b"".join(bytes.fromhex(re.sub(r"   \w.*", "", line[2:])) for line in lines if line[0] == sign)
            for sign in "><"
        )
        peer = await connect(self, suite.counter)
        peer.send(sent)
        self.assertEqual(await peer.exactly(len(got)), got)

    async def test_bus(self) -> None:
        """A new bus answers the messages of its page with those of its page."""
        suite = Suite(self)
        await suite.start()
        peer = await connect(self, suite.ports["bus"])
        *before, (_, _, event) = of_docs("frames").asked_of_the_bus()
        peer.send(b"".join(sent for _, sent, _ in before))
        wanted = list(Decoder(FROM_SERVER).feed(b"".join(got for _, _, got in before) + event))
        decoder, found = Decoder(FROM_SERVER), list[Any]()
        while len(found) < len(wanted):
            found.extend(decoder.feed(await peer.exactly(1)))
        own = next(body for body in found if isinstance(body, pb.Event))
        peer.send(encode_request(pb.Ack(delivery=own.delivery)) + before[0][1])
        self.assertEqual(await peer.exactly(len(before[0][2])), before[0][2])  # and no error
        for body in (*found, *wanted):
            if isinstance(body, pb.Event):  # what depends on the time
                body.published_at = body.delivery = 0
        self.assertEqual(found[:4], wanted[:4])
        self.assertCountEqual(map(str, found), map(str, wanted))  # a receipt may overtake an event


class CommandLineTests(TestCase):
    """The page of programs."""

    def test_options(self) -> None:
        """Each option that the page speaks of is one of the program's that it speaks of."""
        commandlines = of_docs("commandlines")
        text = (DOCS / "reference" / "programs.rst").read_text("utf-8")
        parts = re.split(r"^(protosuite-\w+|twistd protosuite)\n-+$", text, flags=re.MULTILINE)
        self.assertEqual({*parts[1::2]}, {*commandlines.PROGRAMS, "twistd protosuite"})
        for name, part in zip(parts[1::2], parts[2::2], strict=True):
            self.assertIn(f".. command-line:: {name}\n", part)
            told = "\n".join(commandlines.helps(name))
            for option in re.findall(r"``(--?[a-z][a-z-]*)", part):
                if name != "twistd protosuite" or option not in ("-n", "--pidfile", "--logfile"):
                    self.assertRegex(told, rf"(?<![\w-]){option}\b", f"{name} has no {option}")

    def test_commands(self) -> None:
        """Each command line of ours on any page, and in the README, is one that its program takes."""
        commandlines = of_docs("commandlines")
        parsers = {name: commandlines.parser_of(name) for name in commandlines.PROGRAMS}
        found = 0
        for page in (*sorted(DOCS.rglob("*.rst")), DOCS.parent / "README.md"):
            text = re.sub(r"\\\n +", "", page.read_text("utf-8"))
            for line in re.findall(r"^    +(?:\S.*\| )?(?:\$ )?(\S*protosuite-\w+ .*)$", text, re.MULTILINE):
                name, *words = shlex.split(re.split(r" [|<>#;&]", line)[0])
                parser = parsers.get(name.rpartition("/")[2])
                if parser is None or "…" in line:
                    continue  # a line of a log
                with redirect_stdout(StringIO()):
                    try:
                        parser.parse_args(words)
                    except SystemExit as error:  # with 0 after what is only printed
                        self.assertEqual(error.code, 0, f"{page.name}: {line}")
                found += 1
        self.assertGreater(found, 25)


class ApiTests(TestCase):
    """The page of the Python API."""

    def test_public_names(self) -> None:
        """What packages give to others by `__all__` is on the page, and nothing else of theirs is."""
        text = (DOCS / "reference" / "api.rst").read_text("utf-8")
        for name in ("numbers", "counter", "bus", "chatlog", "mediachat", "testing"):
            package = importlib.import_module(f"protosuite.{name}")
            told = re.findall(rf"^.. auto\w+:: protosuite\.{name}\.(\w+)$", text, re.MULTILINE)
            values = [each for each in package.__all__ if each.isupper()]  # these have no docstrings
            self.assertEqual(sorted([*told, *values]), sorted(package.__all__))


class MapTests(TestCase):
    """The pictures of the whole that a reader begins with."""

    def test_everything_is_on_them(self) -> None:
        """The page on architecture and the docstring of the package name each folder and module there is."""
        folder = Path(protosuite.__file__).parent
        parts = {
            path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        page = (DOCS / "explanation" / "architecture.rst").read_text("utf-8")
        for text in (page, protosuite.__doc__ or ""):
            told = set(re.findall(r"\b(\w+)(?:\.py|/|``)", text))
            self.assertEqual(parts - {"__init__", "test"} - told, set())

    def test_each_folder_tells_what_is_in_it(self) -> None:
        """The docstring of each package names its modules; ``overview`` is the same room in all of them."""
        for file in Path(protosuite.__file__).parent.glob("*/**/__init__.py"):
            modules = {path.stem for path in file.parent.glob("*.py")} - {"__init__", "overview"}
            told = set(re.findall(r"\w+", ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""))
            if not {"test", "migrations"} & set(file.parts):  # the latter are laid out by Alembic
                left_out = {name for name in modules - told if not name.endswith("_pb2")}
                self.assertEqual(left_out, set(), file.parent.name)


class DependencyTests(TestCase):
    """The page that says why each dependency is there."""

    def test_all(self) -> None:
        """Each package that the suite installs, extras that it runs with among them, has its paragraph."""
        text = (DOCS / "explanation" / "dependencies.rst").read_text("utf-8")
        told = set(
            re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"^(\S.*)\n    \S", text, re.MULTILINE)).lower())
        )
        setup = ConfigParser()
        setup.read(DOCS.parent / "setup.cfg", "utf-8")
        extras = [setup["options.extras_require"][name] for name in ("tls", "redis", "postgres", "s3")]
        lines = "\n".join([setup["options"]["install_requires"], *extras]).split("\n")
        needed = {re.split(r"[ \[><=;]", line)[0].lower() for line in lines if line and line[0] not in "#"}
        self.assertEqual(needed - told, set())
