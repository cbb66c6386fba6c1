"""``protosuite-numbers``: what a person reads of it."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protosuite.errors import ServerRefused
from protosuite.numbers.cli import NAME, PORT, Receiving
from protosuite.reaching import HOST


def receiving(**given: Any) -> Receiving:
    """A run of the program."""
    usual = {"host": HOST, "port": PORT, "client": None, "max": None, "state": None, "token_file": None}
    return Receiving(Namespace(**{**usual, **given}))


class WordsTests(SynchronousTestCase):
    """What it says."""

    def test_how_to_go_on(self) -> None:
        """The command with which one goes on names the same server and files, as a shell takes them."""
        self.assertEqual(receiving()._command("ana"), f"{NAME} --client ana")
        command = receiving(host="::1", port=1, state=Path("my state"), token_file=Path("t"))._command("ana")
        expected = [*("--host", "::1", "--port", "1", "--client", "ana"), "--state", "my state"]
        self.assertEqual(shlex.split(command), [NAME, *expected, "--token-file", "t"])

    def test_what_a_server_says(self) -> None:
        """R29: what a server refuses with moves no cursor, and is followed by what to do."""
        said = receiving()._explain(ServerRefused("superseded", "\x1b[2Jgone"))
        self.assertEqual(said, "superseded: \ufffd[2Jgone (another program uses this client id)")
