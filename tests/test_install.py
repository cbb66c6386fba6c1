"""The suite as a user installs it: into environments of their own, from a copy of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

import protosuite
from tests.processes import LIMIT, Suite
from tests.requirements import require

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, folder: Path) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class InstallTests(TestCase):
    """R38's other half: what is installed is found and starts."""

    timeout = 4 * LIMIT

    def setUp(self) -> None:
        """Trial's workers hand on where they found their modules; what is installed must do without."""
        found = os.environ.pop("PYTHONPATH", None)
        if found is not None:
            self.addCleanup(os.environ.__setitem__, "PYTHONPATH", found)

    def copy(self, folder: Path) -> Path:
        """The files that are kept in version control, or would be, as they are now."""
        require("git")
        names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT).splitlines()
        for name in names:
            if (ROOT / name).is_file():
                target = folder / "checkout" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((ROOT / name).read_bytes())
        return folder / "checkout"

    def environment(self, folder: Path, *install: str | Path) -> Path:
        """A fresh environment with the suite in it; its folder of programs."""
        run(sys.executable, "-m", "venv", folder / "venv", folder=folder)
        binaries = folder / "venv" / "bin"
        run(binaries / "pip", "install", "-q", *install, folder=folder)
        return binaries

    async def assert_works(self, binaries: Path) -> None:
        """The plugin is visible, the suite starts and answers, each client program says its version."""
        suite = Suite(self, binaries=binaries)
        self.assertIn("protosuite", run(binaries / "twistd", "--help", folder=suite.folder))
        for name in ("numbers", "counter", "bus"):
            said = run(binaries / f"protosuite-{name}", "--version", folder=suite.folder)
            self.assertEqual(said, f"protosuite-{name} {protosuite.__version__}\n")
        await suite.start()
        client = suite.client("protosuite-counter", suite.counter, "add", "5")
        self.assertEqual(await client.exit(), 0, client.story())
        self.assertEqual(client.output, ["5"])
        self.assertEqual(await suite.terminate(), 0)

    async def test_installed(self) -> None:
        """From an editable install and from a wheel, in fresh environments, the suite starts and answers."""
        folders = [Path(self.mktemp()).absolute() for _ in range(2)]
        copies = [self.copy(folder) for folder in folders]

        def editable() -> Path:
            return self.environment(folders[0], "-e", copies[0])

        def wheel() -> Path:
            command = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folders[1], copies[1])
            run(*command, folder=folders[1])
            (built,) = folders[1].glob("protosuite-*.whl")
            return self.environment(folders[1], built)

        for binaries in await gatherResults([deferToThread(editable), deferToThread(wheel)]):
            await self.assert_works(binaries)
