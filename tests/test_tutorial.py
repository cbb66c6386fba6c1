"""The tutorial, step by step: each of its commands is run, and prints what the page says."""

from __future__ import annotations

import json
import re

from twisted.trial.unittest import TestCase

from tests.peers import acknowledged, long_session, stored_total
from tests.processes import BIN, LIMIT, Program, Suite, poll
from tests.test_examples import EXAMPLES, with_ports

PAGE = EXAMPLES.parent / "tutorial.rst"


class TutorialTests(TestCase):
    """With a suite on other ports that sends numbers faster, and streams that are long enough."""

    timeout = 3 * LIMIT  # it runs many programs, one after the other

    def setUp(self) -> None:
        self.left = re.findall(r"^    \$ (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)

    def shown(self, command: str) -> list[str]:
        """The lines that the page has below a command."""
        text = PAGE.read_text("utf-8")
        below = text[text.index(f"    $ {command}\n") :].split("\n")[1:]
        end = next(at for at, line in enumerate(below) if not line.startswith("    ") or "$ " in line)
        return [line[4:] for line in below[:end]]

    def step(self, command: str, **renamed: str) -> Program:
        """Start a command of the page; `renamed` are its words that are others here."""
        self.assertIn(command, self.left)
        self.left.remove(command)
        words = command.replace("protosuite-data/lock", str(self.suite.data / "lock"))
        for name, other in renamed.items():
            words = re.sub(rf"\b{name}\b", other, words)
        words = re.sub(r"\.venv/bin/(\S+)", lambda found: self.program(found[1]), words)
        return Program(self, "bash", "-c", f"exec {words}", folder=self.suite.folder)

    def program(self, name: str) -> str:
        """A program as it is called here: its path, and the port of its service where it has one."""
        port = self.suite.ports.get(name.removeprefix("protosuite-"))
        return f"{BIN}/{name}" + (f" --port {port}" if port else "")

    async def printed(self, command: str, **renamed: str) -> list[str]:
        """What a command prints, which ends well."""
        run = self.step(command, **renamed)
        self.assertEqual(await run.exit(), 0, run.story())
        return run.output

    def example(self, name: str, **renamed: str) -> None:
        """Save a program of the page."""
        self.assertIn(f"literalinclude:: examples/{name}", PAGE.read_text("utf-8"))
        text = with_ports((EXAMPLES / name).read_text("utf-8"), self.suite)
        for word, other in renamed.items():
            text = text.replace(f'"{word}"', f'"{other}"')
        (self.suite.folder / name).write_text(text, "utf-8")

    async def kill_and_start(self, kill: str, client: Program) -> None:
        """Kill the server with the page's command, and start it again when the client has noticed."""
        process = self.suite.program
        killing = Program(self, "bash", "-c", kill, folder=self.suite.folder)
        self.assertEqual(await killing.exit(), 0, killing.story())
        self.assertEqual(await process.exit(), -9)
        await client.until(lambda: any("cannot connect" in line for line in client.output + client.errors))
        await self.suite.start()

    async def test_step_by_step(self) -> None:
        """R5: who follows the tutorial sees what it says, to the program that comes back by itself."""
        self.suite = suite = Suite(self, numbers={"interval": "0.05", "max_messages": 100})
        await suite.start()
        for listening in (
            "numbers listens on tcp 127.0.0.1",
            "counter listens on tcp 127.0.0.1",
            "ready; data in",
        ):
            self.assertIn(f"suite: {listening}", PAGE.read_text("utf-8"))
            self.assertTrue(any(f"info     suite: {listening}" in line for line in suite.log), listening)

        for command in (".venv/bin/protosuite-counter add 1 10 255", ".venv/bin/protosuite-counter get"):
            self.assertEqual(await self.printed(command), self.shown(command))
        whole = r"sum \d+ of \d+ numbers, checksum 0x[0-9a-f]{8} verified, (\d) reconnects"
        [line] = await self.printed(".venv/bin/protosuite-numbers --client ana --max 10 --state ana.json")
        self.assertRegex(line, whole)

        await poll(lambda: stored_total(suite) == 266, "the total is stored")
        await self.kill_the_server(whole)
        await self.kill_the_client(whole)
        await self.write_clients()
        suite.program.signal("INT")
        self.assertEqual(await suite.program.exit(), 0)
        for said in (
            "suite: stopping; connections get 10 s",
            "counter: stopped: total 532, ",
            "suite: stopped",
        ):
            self.assertIn(said, PAGE.read_text("utf-8"))
            self.assertTrue(any(f"info     {said}" in line for line in suite.log), suite.program.story())
        self.assertEqual(self.left, [])

    async def kill_the_server(self, whole: str) -> None:
        """*Kill the server.*"""
        ben = await long_session(self, self.suite, "ben", 90)
        client = self.step(".venv/bin/protosuite-numbers --client ben --state ben.json", ben=ben)
        await poll(lambda: acknowledged(self.suite, ben) > 3, "the stream runs")
        self.left.remove("kill -9 $(cat protosuite-data/lock)")
        await self.kill_and_start(f"kill -9 $(cat {self.suite.data / 'lock'})", client)
        self.assertEqual(await client.exit(), 0, client.story())
        self.assertRegex(client.errors[0], r"connection lost; trying again in 0\.[1-3] s")
        self.assertRegex(client.errors[1], r"cannot connect \(connection refused\); trying again in 0\.\d s")
        self.assertEqual(re.findall(whole, client.output[-1]), ["1"])

    async def kill_the_client(self, whole: str) -> None:
        """*Kill the client.*"""
        eva = await long_session(self, self.suite, "eva", 90)
        command = ".venv/bin/protosuite-numbers --client eva --state eva.json"
        self.left.append(command)  # the page has it once, and says that it is the same one
        client = self.step(command, eva=eva)
        state = self.suite.folder / f"{eva}.json"
        await poll(lambda: acknowledged(self.suite, eva) > 3, "the stream runs")
        client.signal("KILL")
        await client.exit()
        [kept] = await self.printed("cat eva.json", eva=eva)
        [example] = self.shown("cat eva.json")
        self.assertEqual(list(json.loads(kept)), list(json.loads(example)))
        again = self.step(command, eva=eva)
        self.assertEqual(await again.exit(), 0, again.story())
        self.assertEqual(
            again.errors, [f"resuming the stream of client {eva} at number {json.loads(kept)['next']}"]
        )
        self.assertRegex(again.output[-1], whole)
        self.assertFalse(state.exists())

    async def write_clients(self) -> None:
        """*A client of your own.*"""
        self.example("counter_client.py")
        command = ".venv/bin/python counter_client.py"
        self.assertEqual(await self.printed(command), self.shown(command))
        own = await long_session(self, self.suite, "own", 90)
        self.example("numbers_client.py", example=own)
        command = ".venv/bin/python numbers_client.py"
        client = self.step(command)
        await poll(lambda: stored_total(self.suite) == 532 and acknowledged(self.suite, own) > 3, "it runs")
        await self.kill_and_start(f"kill -9 $(cat {self.suite.data / 'lock'})", client)
        self.assertEqual(await client.exit(), 0, client.story())
        for line, said in zip((*client.output[:2], client.output[-1]), self.shown(command), strict=True):
            self.assertRegex(line, re.sub(r"\d+", r"\\d+", re.escape(said)))
        self.assertIn(", 1 reconnects", client.output[-1])
