"""The notes for the next entry in CHANGES.rst: an entry can be made of them at any time."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from docutils.core import publish_doctree
from docutils.nodes import bullet_list, system_message
from twisted.trial.unittest import SynchronousTestCase

import protosuite
from tests.processes import LIMIT

ROOT = Path(__file__).parent.parent
KINDS = ("feature", "bugfix", "doc", "removal")


class NewsTests(SynchronousTestCase):
    """``make changes``, on a copy."""

    def test_an_entry(self) -> None:
        """All notes are of a kind that there is and become one entry, which is sound reStructuredText."""
        folder = Path(self.mktemp()).absolute()
        shutil.copytree(ROOT / "newsfragments", folder / "newsfragments")
        for name in ("CHANGES.rst", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        for kind in KINDS:
            (folder / "newsfragments" / f"+of-a-test.{kind}.rst").write_text(f"A {kind}, in ``words``.\n")
        command = [sys.executable, "-m", "towncrier", "build", "--yes", "--version", "1000.0.0"]
        done = subprocess.run(
            [*command, "--config", "pyproject.toml"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(list(folder.glob("newsfragments/*.rst")), [])
        text = (folder / "CHANGES.rst").read_text("utf-8")
        self.assertIn("1000.0.0", text)
        tree = publish_doctree(text, settings_overrides={"report_level": 5})
        self.assertEqual([each.astext() for each in tree.findall(system_message)], [])
        told = [item.astext() for each in tree.findall(bullet_list) for item in each.children]
        for kind in KINDS:
            self.assertEqual(sum(text.startswith(f"A {kind}, in words.") for text in told), 1, told[:10])

    def test_the_version(self) -> None:
        """The code has the version of the newest entry, and says so where that is not released yet."""
        found = re.search(
            r"^([0-9.]+) \((.+)\)\n=+$", (ROOT / "CHANGES.rst").read_text("utf-8"), re.MULTILINE
        )
        assert found is not None, "there is no entry"
        later = ".dev0" if found[2] == "not released yet" else ""
        self.assertEqual(protosuite.__version__, found[1] + later)
