"""A service of somebody's own, installed beside the suite: the sample, as a user would have it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.browser import Browser
from tests.peers import Peer, connect
from tests.processes import BIN, LIMIT, READY, Program, Suite, free_port
from tests.test_admin import get
from tests.test_admin_page import CARD

LAST = "return [...document.querySelectorAll('.service h2')].at(-1).textContent === arguments[0]"
EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def install(case: TestCase, sample: str = "tally") -> Path:
    """A sample, as ``pip install`` puts it; the folder where Python looks for it."""
    folder = Path(case.mktemp()).absolute()
    shutil.copytree(EXAMPLES / sample, folder / sample, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = subprocess.run(
        [*command, "--target", folder / "site", folder / sample],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"},
    )
    case.assertEqual(done.returncode, 0, done.stdout + done.stderr)
    return folder / "site"


def package(site: Path, name: str, value: str, text: str, service: str = "tally") -> None:
    """Put a package of one module there, whose entry point is for a service."""
    site.mkdir(parents=True, exist_ok=True)
    (site / f"{name}.py").write_text(text)
    about = site / f"{name}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[protosuite.services]\n{service} = {name}:{value}\n")


class Fixture(TestCase):
    """A suite that finds what is in a folder."""

    timeout = 3 * LIMIT  # it runs many programs, one after the other

    service = "tally"

    def suite(self, site: Path, **settings: Mapping[str, object]) -> Suite:
        self.port = free_port()
        own: dict[str, Any] = {self.service: {"listen": f"tcp:{self.port}:interface=127.0.0.1"}}
        suite = Suite(self, suite={"services": f"all, {self.service}"}, **own)
        suite.write(**settings)
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.found = {"PYTHONPATH": path}
        return suite

    async def start(self, suite: Suite) -> None:
        await suite.spawn(environment=self.found).says(READY)

    async def run_program(self, suite: Suite, *command: str | Path, **more: str) -> Program:
        program = Program(self, *command, folder=suite.folder, environment={**self.found, **more})
        await program.exit()
        return program

    async def tally(self, suite: Suite, *words: str, **more: str) -> Program:
        """``protosuite-tally``."""
        code = "from protosuite_tally.client import main; main()"
        command = (sys.executable, "-c", code, "--port", str(self.port), *words)
        return await self.run_program(suite, *command, **more)


class InstalledTests(Fixture):
    """The sample does what the built-in services do."""

    async def test_it_works(self) -> None:
        """A service of one's own is served, told of and stored, and its stop and its next start are clean."""
        suite = self.suite(install(self))
        await self.start(suite)
        await suite.program.says(f"tally listens on tcp 127.0.0.1:{self.port}")
        events = suite.client(
            "protosuite-bus", suite.ports["bus"], "subscribe", "--replay", "9", "tally.voted", "--count", "3"
        )
        for count in (1, 2):
            self.assertEqual((await self.tally(suite, "vote", "tea")).output, [f"tea {count}"])
        self.assertEqual((await self.tally(suite, "vote", "coffee")).output, ["coffee 1"])
        self.assertEqual((await self.tally(suite, "show")).output, ["tea 2", "coffee 1"])
        self.assertEqual(await events.exit(), 0, events.story())
        self.assertIn('"choice": "tea"', events.output[0].replace('":"', '": "'))
        status = json.loads((await get(self, suite, "/status")).body)
        leaders = ["tea: 2", "coffee: 1"]
        self.assertEqual(
            status["services"]["tally"]["overview"], {"choices": 2, "votes": 3, "leaders": leaders}
        )
        self.assertEqual(status["configuration"]["tally"]["max_choices"], "100")
        metrics = (await get(self, suite, "/metrics")).body.decode()
        self.assertIn("protosuite_tally_votes_total 3.0", metrics)
        self.assertIn('protosuite_connections_accepted_total{service="tally"} 4.0', metrics)
        self.assertEqual(await suite.terminate(), 0)
        await self.start(suite)
        self.assertEqual((await self.tally(suite, "show")).output, ["tea 2", "coffee 1"])
        self.assertEqual(suite.defects, [])

    async def test_stored_means_stored(self) -> None:
        """R1: each vote that was answered is there after ``kill -9``, and after a stop amid many."""
        suite = self.suite(install(self))
        await self.start(suite)
        answered = 0
        for stop in (suite.kill, suite.terminate):
            peer = await connect(self, self.port)
            peer.send(b"vote tea\n" * 500)
            await has_answers(peer, 50)
            await stop()
            await has_ended(peer)
            answered = int(last_votes(peer))
            await self.start(suite)
            shown = (await self.tally(suite, "show")).output
            stored = int(shown[0].split()[1])
            self.assertGreaterEqual(stored, answered)
        self.assertEqual(suite.defects, [])

    async def test_refused(self) -> None:
        """What breaks the rules is answered with why, counted, and closed; a limit of the settings holds."""
        suite = self.suite(install(self), tally={"max_choices": 1, "max_connections": 1})
        await self.start(suite)
        peer = await connect(self, self.port)
        peer.send(b"vote tea\nvote coffee\nvote tea\n")
        await has_ended(peer)
        self.assertEqual(bytes(peer.received), b"votes tea 1\nerror too-many there are 1 choices already\n")
        status = json.loads((await get(self, suite, "/status")).body)
        self.assertEqual(status["services"]["tally"]["refusals"], {"too-many": 1})

    async def test_tokens(self) -> None:
        """R24: who may do what is for the service to say, and only the suite speaks on its topics."""
        suite = self.suite(install(self), auth={"secret_file": "keys"})
        tokens = {}
        keys = (BIN / "protosuite-token", "--config", suite.config)
        self.assertEqual((await self.run_program(suite, *keys, "init", "keys")).code, 0)
        for role in ("client", "operator"):
            made = await self.run_program(suite, *keys, "make", "--role", role, "--subject", "ana")
            tokens[role] = made.output[0]
        await self.start(suite)
        for token, code in ((None, "unauthenticated"), ("x.y.z", "unauthenticated")):
            refused = await self.tally(suite, "vote", "tea", **({"PROTOSUITE_TOKEN": token} if token else {}))
            self.assertIn(code, refused.errors[-1])
        refused = await self.tally(suite, "vote", "tea", PROTOSUITE_TOKEN=tokens["operator"])
        self.assertIn("forbidden may not vote", refused.errors[-1])
        voted = await self.tally(suite, "vote", "tea", PROTOSUITE_TOKEN=tokens["client"])
        self.assertEqual(voted.output, ["tea 1"])
        command = (BIN / "protosuite-bus", "--port", str(suite.ports["bus"]), "publish", "tally.voted", "x")
        liar = await self.run_program(suite, *command, PROTOSUITE_TOKEN=tokens["operator"])
        self.assertIn("forbidden", "".join(liar.errors))

    async def test_its_own_tests(self) -> None:
        """The tests that are installed with it pass."""
        site = install(self)
        suite = self.suite(site)
        tests = await self.run_program(suite, BIN / "trial", "protosuite_tally")
        self.assertEqual(tests.code, 0, tests.story())
        self.assertIn("PASSED (successes=4)", tests.output)


async def has_answers(peer: Peer, count: int) -> None:
    """Wait for so many."""
    await peer.until(lambda: peer.received.count(b"\n") >= count)


async def has_ended(peer: Peer) -> None:
    """Wait for the server's close."""
    await peer.until(lambda: peer.over or None, after_end=True)


def last_votes(peer: Peer) -> str:
    """The count in the last whole answer."""
    return bytes(peer.received).decode().rpartition("\n")[0].split()[-1]


class DashboardTests(Fixture):
    """A service that the page does not know."""

    async def test_card(self) -> None:
        """Its card is behind those of the suite, with its charts and what it says of itself."""
        suite = self.suite(install(self))
        await self.start(suite)
        self.assertEqual((await self.tally(suite, "vote", "tea")).output, ["tea 1"])
        browser = Browser(self)
        await browser.start()
        await browser.open(f"http://127.0.0.1:{suite.ports['admin']}/")
        await browser.until("what it says of itself", CARD, "tally", "tea: 1")
        await browser.until("its place", LAST, "tally")


class SettingsTests(Fixture):
    """Its section is checked and printed as any other."""

    async def check(self, suite: Suite, option: str, **more: str) -> Program:
        command = (BIN / "twistd", "-n", "--pidfile=", "protosuite", "--config", suite.config, option)
        return await self.run_program(suite, *command, **more)

    async def test_checked(self) -> None:
        """R38: each error in its section is named with its line and what would be right."""
        suite = self.suite(install(self), tally={"max_choices": "many", "max_choice": "1"})
        check = await self.check(suite, "--check", PROTOSUITE_TALLY_MESSAGE_TIMEOUT="never")
        self.assertEqual(check.code, 1)
        said = "\n".join(check.errors)
        self.assertIn("[tally] max_choices = 'many': must be a whole number from 1 to 10000", said)
        self.assertIn("[tally] max_choice: unknown setting; did you mean max_choices?", said)
        self.assertIn("environment variable PROTOSUITE_TALLY_MESSAGE_TIMEOUT: [tally] message_timeout", said)
        self.assertEqual(len(check.errors), 3, said)

    async def test_printed(self) -> None:
        """``--print-config`` shows its section, with what each setting means; what is printed is right."""
        suite = self.suite(install(self))
        printed = await self.check(suite, "--print-config")
        self.assertIn("services = all, tally", printed.output)
        self.assertIn("# Most choices that there are votes for.", printed.output)
        suite.config.write_text("\n".join(printed.output))
        check = await self.check(suite, "--check")
        self.assertEqual(check.code, 0, check.story())

    async def test_not_installed(self) -> None:
        """R38: a service that is not installed is named where it stands, as is one whose name is a slip."""
        suite = self.suite(Path(self.mktemp()), suite={"services": "numbers, conter, tally"})
        check = await self.check(suite, "--check")
        self.assertEqual(check.code, 1)
        said = "\n".join(check.errors)
        self.assertIn("no service conter is installed; did you mean counter?", said)
        self.assertIn("no service tally is installed", said)
        self.assertIn("unknown section [tally]; no service of that name is installed", said)
        self.assertEqual(len(check.errors), 3, said)

    async def test_what_cannot_be_used(self) -> None:
        """One that cannot be imported, is none, or is there twice, is one line that names the package."""
        good = "from protosuite.extending import *\ntally = Extension(ServiceConfig, print)\n"
        for packages, reason in (
            ({"broken": "import nowhere"}, "of the package broken cannot be loaded (ModuleNotFoundError"),
            ({"empty": ""}, "of the package empty cannot be loaded (AttributeError"),
            ({"other": "tally = 7"}, "other:tally is no protosuite.extending.Extension"),
            ({"one": good, "two": good}, "one and two both bring a service tally: uninstall one"),
            ({"odd": good.replace("ServiceConfig,", "int,")}, "its section is no ServiceConfig"),
        ):
            site = Path(self.mktemp()).absolute()
            for name, text in packages.items():
                package(site, name, "tally", text)
            suite = self.suite(site)
            check = await self.check(suite, "--check")
            self.assertEqual(check.code, 1, check.story())
            self.assertEqual(len(check.errors), 1, check.story())
            self.assertIn(reason, check.errors[0])

    async def test_what_cannot_be_made(self) -> None:
        """A service that fails when it is made ends the start with one line, and the log says where."""
        site = Path(self.mktemp()).absolute()
        text = (
            "from attrs import frozen\n"
            "from protosuite.extending import *\n"
            "@frozen(kw_only=True)\n"
            "class Config(ServiceConfig):\n"
            "    listen: tuple[str, ...] = listening_on(8090)\n"
            "tally = Extension(Config, lambda config, shared: 1 / 0)\n"
        )
        package(site, "failing", "tally", text)
        suite = self.suite(site)
        run = suite.spawn(environment=self.found)
        self.assertEqual(await run.exit(), 1, run.story())
        why = "the service tally cannot be made (ZeroDivisionError: division by zero): see the log"
        self.assertEqual(run.errors, [f"protosuite: {why}"])

    async def test_exposed(self) -> None:
        """R30: one that asks nobody for a token does not start where strangers reach it, tokens or not."""
        site = install(self)
        init = site / "protosuite_tally" / "__init__.py"
        for has_tokens, code in (("True", 0), ("False", 1)):
            init.write_text(init.read_text().replace("has_tokens=True", f"has_tokens={has_tokens}"))
            suite = self.suite(site, auth={"secret_file": "keys"}, tally={"listen": f"tcp:{free_port()}"})
            keys = (BIN / "protosuite-token", "--config", suite.config)
            self.assertEqual((await self.run_program(suite, *keys, "init", "keys")).code, 0)
            check = await self.check(suite, "--check")
            self.assertEqual(check.code, code, check.story())
        self.assertIn("anybody from elsewhere could use it", check.errors[0])


class StartTests(Fixture):
    """Who has no such service does not pay for one."""

    async def test_nothing_is_looked_for(self) -> None:
        """Without a service of one's own in the configuration, nobody looks at what is installed."""
        code = (
            "import sys; from protosuite import config, extensions; "
            "extensions.find = config.find = lambda name: sys.exit('looked for ' + name); "
            "config.load(sys.argv[1], {})"
        )
        suite = Suite(self)
        self.found = {}
        run = await self.run_program(suite, sys.executable, "-c", code, suite.config)
        self.assertEqual(run.code, 0, run.story())
