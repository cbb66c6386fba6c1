"""Completion in real shells, and manual pages as ``man`` reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.processes import LIMIT
from tests.requirements import require
from tests.test_documentation import of_docs

ROOT = Path(__file__).parent.parent
PROGRAMS: dict[str, str] = of_docs("commandlines").PROGRAMS
BASH = """
source "$1"
COMP_WORDS=("${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p "$2" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function "$2" "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def run(*command: str | Path, **environment: str) -> str:
    """What it prints; it must succeed, and complain of nothing."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        env={**os.environ, **environment},
    )
    if done.returncode or done.stderr:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class CompletionTests(SynchronousTestCase):
    """What the shells make of the scripts."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def script(self, name: str, shell: str) -> Path:
        file = self.folder / f"{name}.{shell}"
        code = f"from {PROGRAMS[name]} import main; main()"
        file.write_text(run(sys.executable, "-c", code, "--print-completion", shell))
        return file

    def test_bash(self) -> None:
        """bash completes commands, options and the words that an option takes, of every program."""
        require("bash")
        for words, expected in (
            (("protosuite-counter", ""), {"add", "get", "load"}),
            (("protosuite-bus", "pub"), {"publish"}),
            (("protosuite-chatlog", "--ver"), {"--version", "--verify"}),
            (("protosuite-token", "make", "--role", ""), {"client", "operator", "service"}),
            (("protosuite-cert", "self", "--key", "e"), {"ec", "ed25519"}),
            (("protosuite-mediachat", "--cl"), {"--client"}),
            (("protosuite-numbers", "--st"), {"--state"}),
            (("protosuite-backup", "--veri"), {"--verify"}),
        ):
            script = self.script(words[0], "bash")
            found = run("bash", "--norc", "-c", BASH, "bash", script, *words).split()
            self.assertEqual(set(found), expected, words)

    def test_fish(self) -> None:
        """fish completes commands and options, and knows what they are for."""
        require("fish")
        script = self.script("protosuite-counter", "fish")
        found = run(
            "fish", "--no-config", "-c", f"source {script}; complete -C 'protosuite-counter '",
            HOME=str(self.folder),
        )  # fmt: skip
        self.assertIn("add\tadd each N and print the counter after it", found.splitlines())

    def test_all_are_read(self) -> None:
        """Each shell reads the script of each program without a complaint."""
        for shell, words in (("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])):
            require(shell)
            for name in PROGRAMS:
                script = self.script(name, shell)
                self.assertEqual(run(shell, *words, script, HOME=str(self.folder)), "")
                self.assertIn(name, script.read_text())


class ManualTests(SynchronousTestCase):
    """The pages that ``make man`` writes."""

    def test_pages(self) -> None:
        """There is one for each program; ``man`` and groff have nothing to say against any of them."""
        require("man", "groff")
        folder = Path(self.mktemp()).absolute()
        run(sys.executable, ROOT / "docs" / "manpages.py", folder, COLUMNS="100")
        self.assertEqual({file.stem for file in folder.iterdir()}, set(PROGRAMS))
        for file in folder.iterdir():
            self.assertEqual(run("groff", "-ww", "-man", "-Tutf8", "-z", file), "")
            options = {"MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANROFFOPT": ""}
            shown = run("man", "--warnings", "-l", file, **options)
            self.assertIn("SYNOPSIS", shown)
            self.assertIn(f"{file.stem} - ", " ".join(shown.split()))

    def test_the_same_as_help(self) -> None:
        """All options that ``--help`` names are in the page, and what it says of them."""
        folder = Path(self.mktemp()).absolute()
        run(sys.executable, ROOT / "docs" / "manpages.py", folder, COLUMNS="100")
        for name, module in PROGRAMS.items():
            text = (folder / f"{name}.1").read_text().replace("\\-", "-").replace("\\&", "")
            help = run(sys.executable, "-c", f"from {module} import main; main()", "--help", COLUMNS="400")
            _, _, options = help.partition("\noptions:\n")
            for line in options.partition("\n\n")[0].splitlines():
                option, _, said = line.strip().partition("  ")
                self.assertIn(option.split(",")[0].split()[0], text)
                self.assertIn(said.strip(), text)
