"""The program ``protosuite-backup``: its command line, what it prints, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from attrs import frozen

import protosuite
from protosuite.backup import cli
from protosuite.backup.manifest import Heading
from protosuite.storage.schema import HEAD
from protosuite.test.backups import NOW, BackupCase, built, rows


@frozen
class Ran:
    """What a run of the program came to."""

    code: int
    output: str
    errors: str


class CommandLineTests(BackupCase):
    """A suite that has its data in ``data``, and a place for backups."""

    def setUp(self) -> None:
        super().setUp()
        self.config = self.written("suite.ini", self.source.data, "test.sqlite3")
        self.file = self.folder / "suite.tar"
        kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        for number, handler in kept.items():
            self.addCleanup(signal.signal, number, handler)

    def written(self, name: str, data: Path, database: str) -> Path:
        """A configuration."""
        path = self.folder / name
        path.write_text(f"[suite]\ndata = {data}\ndatabase = sqlite:///{database}\n", "utf-8")
        return path

    def run_program(self, *arguments: str | Path, input: bytes = b"") -> Ran:
        """Run it."""
        output, errors = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with ExitStack() as stack:
            stack.enter_context(redirect_stdout(output))
            stack.enter_context(redirect_stderr(errors))
            self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(input), "utf-8"))
            try:
                cli.main([str(argument) for argument in arguments])
            except SystemExit as end:
                code: Any = end.code
        output.flush()
        self.output: bytes = output.buffer.getvalue()
        return Ran(code or 0, self.output.decode(errors="replace"), errors.getvalue())

    def fails(self, why: str, *arguments: str | Path, input: bytes = b"") -> None:
        """It says in one line why it fails, and nothing else."""
        ran = self.run_program(*arguments, input=input)
        self.assertEqual((ran.code, ran.output), (1, ""), ran)
        self.assertEqual(ran.errors.count("\n"), 1, ran)
        self.assertIn(why, ran.errors)

    def test_silent(self) -> None:
        """Where nobody looks, as in a cron job, a backup that is made says nothing."""
        self.assertEqual(self.run_program("--config", self.config, self.file), Ran(0, "", ""))
        self.assertTrue(self.examined(self.file.read_bytes()).is_right)

    def test_verify(self) -> None:
        """A backup that is right is told in one line, with what is in it."""
        self.run_program("--config", self.config, self.file)
        ran = self.run_program("--verify", self.file)
        self.assertEqual((ran.code, ran.errors), (0, ""))
        self.assertIn(f"version {protosuite.__version__}, schema {HEAD}: 2 rooms with 35 entries", ran.output)
        self.assertIn("4 media files of 6,648 bytes; all is right\n", ran.output)

    def test_verify_what_is_wrong(self) -> None:
        """One that is not is told line by line, with exit code 1."""
        data = self.backup()
        place = data.index(b"orders.*")
        self.file.write_bytes(data[:place] + b"O" + data[place + 1 :])
        self.fails(f"{self.file}: manifest.json does not say", "--verify", self.file)
        self.fails("No such file or directory", "--verify", self.folder / "none")
        self.fails("-: it is cut off at byte 0", "--verify", "-")

    def test_verify_what_was_lost_before(self) -> None:
        """What the suite had lost before is told as that, with exit code 1, when made and when looked at."""
        self.path(self.media[0]).unlink()
        ran = self.run_program("--config", self.config, self.file)
        self.assertEqual((ran.code, ran.output), (1, ""))
        self.assertIn(f"{self.path(self.media[0])} is missing\n", ran.errors)
        self.assertIn("the suite has lost 1 media file; all else is in the backup\n", ran.errors)
        self.fails("since before it was backed up, media/", "--verify", self.file)

    def test_many_problems(self) -> None:
        """Of very many problems the first are told, and how many more there are."""
        for n in range(30):
            self.path(self.add_media(b"%d" % n)).unlink()
        ran = self.run_program("--config", self.config, self.file)
        self.assertEqual(len(ran.errors.splitlines()), 21)
        self.assertIn("the suite has lost 30 media files; all else", ran.errors)
        ran = self.run_program("--verify", self.file)
        self.assertEqual(len(ran.errors.splitlines()), 21)
        self.assertIn("and 10 more\n", ran.errors)

    def test_json(self) -> None:
        """With --json each of the three prints one object."""
        made = json.loads(self.run_program("--config", self.config, "--json", self.file).output)
        self.assertEqual((made["media"], made["bytes"], made["lost"]), (4, self.file.stat().st_size, []))
        found = json.loads(self.run_program("--verify", "--json", self.file).output)
        heading = {name: made[name] for name in ("file", "version", "schema", "created_at")}
        counts = {"rooms": 2, "entries": 35, "hashes": 34, "media": 4, "media_bytes": 6648}
        wrong: dict[str, list[str]] = {"broken": [], "missing": [], "damaged": [], "problems": []}
        self.assertEqual(found, heading | counts | wrong)
        new = self.written("new.ini", self.folder / "new", "x.sqlite3")
        restored = json.loads(self.run_program("--restore", "--json", "-c", new, self.file).output)
        self.assertEqual(restored, found | {"data": str(self.folder / "new")})
        self.file.write_bytes(b"x" * 512)
        ran = self.run_program("--verify", "--json", self.file)
        self.assertEqual((ran.code, ran.errors), (1, ""))
        self.assertEqual(json.loads(ran.output)["problems"], ["at byte 0 there is no file of a backup"])

    def test_restore(self) -> None:
        """A backup is restored to where another configuration says, and refused where something is."""
        self.run_program("--config", self.config, self.file)
        new = self.written("new.ini", self.folder / "new", "x.sqlite3")
        ran = self.run_program("--restore", self.file, "--config", new)
        self.assertEqual((ran.code, ran.errors), (0, ""))
        self.assertIn("35 entries, 4 media files of 6,648 bytes; the suite can start\n", ran.output)
        self.assertEqual(rows(self.folder / "new" / "x.sqlite3"), rows(self.source.database))
        self.fails("is not empty", "--restore", self.file, "--config", new)
        self.file.write_bytes(built(Heading("9.9", "x9", NOW), b""))
        other = self.written("other.ini", self.folder / "other", "x.sqlite3")
        self.fails("use protosuite 9.9", "--restore", self.file, "--config", other)

    def test_streams(self) -> None:
        """A backup goes to standard output, and comes from standard input."""
        self.assertEqual(self.run_program("--config", self.config, "-").code, 0)
        data = self.output
        self.assertEqual(self.run_program("--verify", "-", input=data).code, 0)
        new = self.written("new.ini", self.folder / "new", "x.sqlite3")
        self.assertEqual(self.run_program("--restore", "-", "-c", new, input=data).code, 0)
        self.assertEqual(rows(self.folder / "new" / "x.sqlite3"), rows(self.source.database))

    def test_the_environment(self) -> None:
        """Settings of the environment count as they do for the suite."""
        self.patch(os, "environ", {**os.environ, "PROTOSUITE_SUITE_DATA": str(self.folder / "elsewhere")})
        self.fails("elsewhere/test.sqlite3", "--config", self.config, self.file)

    def test_wrong_command_lines(self) -> None:
        """What cannot be meant is refused with exit code 2 and the usage."""
        for arguments in (
            *([], ["a", "b"], ["--verify"], ["--verify", "--restore", "a"], ["--verify", "--force", "a"]),
            *(["--restore", "--force", "a"], ["--json", "-"], ["--unknown", "a"]),
        ):
            ran = self.run_program(*arguments)
            self.assertEqual((ran.code, ran.output), (2, ""), arguments)
            self.assertIn("usage: protosuite-backup", ran.errors)

    def test_help(self) -> None:
        """--help has examples, --version the version."""
        self.assertIn("example:\n  protosuite-backup --config suite.ini", self.run_program("--help").output)
        self.assertEqual(
            self.run_program("--version").output, f"protosuite-backup {protosuite.__version__}\n"
        )

    def test_a_wrong_configuration(self) -> None:
        """R38: each problem of the configuration has its line."""
        self.config.write_text("[suite]\ndate = x\n", "utf-8")
        self.fails(
            f"{self.config}:2: [suite] date: unknown setting; did you mean data", "-c", self.config, "f"
        )

    def test_a_folder_for_a_file(self) -> None:
        """A folder in a file's place is told as that."""
        self.fails("Is a directory", "--verify", self.folder)
        self.fails("is there, and is no file", "--config", self.config, self.folder, "--force")

    def elsewhere(self, name: str, data: Path, media: str = "s3://bucket/media") -> Path:
        """A configuration whose media are not in the data folder."""
        config = self.written(name, data, "test.sqlite3")
        with config.open("a", encoding="utf-8") as file:
            file.write(f"[mediachat]\nmedia = {media}\n")
        return config

    def test_media_elsewhere(self) -> None:
        """R9: a backup whose media are in S3 has all else, says where they are, and misses none."""
        config = self.elsewhere("s3.ini", self.source.data)
        self.assertEqual(self.run_program("--config", config, self.file), Ran(0, "", ""))
        ran = self.run_program("--verify", self.file)
        self.assertEqual((ran.code, ran.errors), (0, ""))
        self.assertIn("its media are not in it, but in s3://bucket/media; all is right", ran.output)
        found = json.loads(self.run_program("--verify", "--json", self.file).output)
        self.assertEqual((found["media"], found["missing"]), (0, []))
        target = self.folder / "restored"
        ran = self.run_program("--config", self.elsewhere("new.ini", target), "--restore", self.file)
        self.assertEqual((ran.code, ran.errors), (0, ""))
        self.assertEqual(rows(target / "test.sqlite3"), rows(self.source.database))
        self.assertFalse((target / "media").exists())

    def test_media_that_change_places(self) -> None:
        """Whoever restores to where media are in another place is told what is to be done."""
        self.run_program("--config", self.config, self.file)
        target = self.folder / "restored"
        ran = self.run_program(
            "--config", self.elsewhere("new.ini", target, "/mnt/x"), "--restore", self.file
        )
        self.assertEqual(ran.code, 0)
        self.assertIn(f"the media are in {target / 'media'}: copy them to /mnt/x", ran.errors)
        without = self.folder / "without.tar"
        self.run_program("--config", self.elsewhere("s3.ini", self.source.data), without)
        local = self.written("local.ini", self.folder / "again", "test.sqlite3")
        ran = self.run_program("--config", local, "--restore", without)
        self.assertEqual(ran.code, 0)
        self.assertIn("the configuration has its media elsewhere: local", ran.errors)

    def test_postgresql(self) -> None:
        """What is not backed up here is told with what has to be copied besides."""
        for media, what in (
            ("local", f"{self.source.data / 'media'} is"),
            ("s3://bucket", "in s3://bucket is"),
        ):
            config = self.elsewhere("pg.ini", self.source.data, media)
            text = config.read_text("utf-8").replace("sqlite:///test.sqlite3", "postgresql+psycopg://x/y")
            config.write_text(text, "utf-8")
            self.fails(f"{what} to be copied", "--config", config, self.file)
