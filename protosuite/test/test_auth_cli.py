"""``protosuite-token`` without a process, and the token that the other programs are given."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protosuite import program, reaching
from protosuite.auth import tokens
from protosuite.auth.cli import parse, run
from protosuite.auth.keys import rotate
from protosuite.errors import StartError
from protosuite.testing import database


class Fixture(SynchronousTestCase):
    """A folder with keys and a configuration; `database` makes the suite's."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.keys = self.folder / "keys"
        self.config = self.folder / "suite.ini"
        self.config.write_text(
            f"[suite]\ndata = {self.folder}\ndatabase = sqlite:///test.sqlite3\n"
            f"[auth]\nsecret_file = {self.keys}\n"
        )

    def run_program(self, *argv: str, code: int = 0, input: str = "") -> str:
        """What it prints; `errors` is what it says."""
        output, errors = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", output)
        self.patch(sys, "stderr", errors)
        self.patch(sys, "stdin", io.StringIO(input))
        try:
            found = run(parse(argv))
        except SystemExit as error:  # of the command line
            found = int(str(error.code))
        self.errors = errors.getvalue()
        self.assertEqual(found, code, self.errors)
        self.assertNotIn("eyJ", self.errors)
        return output.getvalue()

    def call(self, *argv: str, code: int = 0, input: str = "") -> str:
        return self.run_program("--config", str(self.config), *argv, code=code, input=input)

    def init(self) -> None:
        self.run_program("init", str(self.keys))

    def make(self, *more: str) -> str:
        """A token, from the one line that is printed."""
        (line,) = self.call("make", "--role", "client", "--subject", "ana", *more).splitlines()
        return line

    def database(self) -> None:
        database(str(self.folder)).close()

    def shown(self, token: str, code: int = 0) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.call("show", "--json", "-", code=code, input=token))
        return fields


class KeysTests(Fixture):
    """``init``."""

    def test_made(self) -> None:
        """A file is made that only its owner may read, and that signs."""
        self.init()
        self.assertEqual(stat.S_IMODE(self.keys.stat().st_mode), 0o600)
        self.assertIn(f"{self.keys}: made, with key ", self.errors)
        self.assertNotIn(self.keys.read_text().split()[1], self.errors)
        self.shown(self.make())

    def test_not_overwritten(self) -> None:
        """What is there stays as it is."""
        self.keys.write_text("mine")
        self.run_program("init", str(self.keys), code=1)
        self.assertIn("is there already: --rotate", self.errors)
        self.assertEqual(self.keys.read_text(), "mine")
        self.run_program("init", str(self.folder / "no" / "keys"), code=1)
        self.assertIn("No such file or directory", self.errors)

    def test_rotated(self) -> None:
        """A new key comes first and signs, and the old one verifies, for whoever could read the file."""
        self.init()
        old = self.make()
        before = self.keys.read_text()
        mode = 0o440 if os.geteuid() == 0 else 0o400  # one of root's may be its group's, too
        self.keys.chmod(mode)
        self.run_program("init", str(self.keys), "--rotate")
        lines = self.keys.read_text().splitlines(keepends=True)
        self.assertEqual((len(lines), lines[1]), (2, before))
        self.assertEqual(stat.S_IMODE(self.keys.stat().st_mode), mode)
        new = self.make()
        self.assertNotEqual(self.shown(old)["key"], self.shown(new)["key"])
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["keys", "suite.ini"])

    def test_rotating_what_is_none(self) -> None:
        """What is no file of keys, or one that others may read, is not rotated, and stays as it is."""
        for text, mode in (("mine\n", 0o600), (tokens.key_line("a", b"s" * 32), 0o644)):
            self.keys.write_text(text)
            self.keys.chmod(mode)
            self.assertRaises(StartError, rotate, self.keys)
            self.assertEqual(self.keys.read_text(), text)

    def test_a_rotation_that_was_cut_short(self) -> None:
        """What a rotation left that was killed is no obstacle to the next."""
        self.init()
        self.keys.with_name("keys.new").write_text("half")
        self.run_program("init", "--rotate", str(self.keys))
        self.shown(self.make())


class TokenTests(Fixture):
    """``make`` and ``show``."""

    def setUp(self) -> None:
        super().setUp()
        self.init()

    def test_made_and_shown(self) -> None:
        """What is made says who and until when; its id is said beside it, for the day that it is lost."""
        token = self.make("--for", "90m")
        said = self.errors
        fields = self.shown(token)
        self.assertEqual((fields["role"], fields["subject"], fields["status"]), ("client", "ana", "good"))
        self.assertEqual(fields["expires"] - fields["issued"], 5400)
        self.assertIn(f"token {fields['id']} of client ana, good until 20", said)
        text = self.call("show", token).splitlines()
        self.assertEqual(text[0], f"id       {fields['id']}")
        self.assertEqual(text[-1], "status   good")

    def test_thirty_days(self) -> None:
        """A token is good for thirty days unless something else is asked for."""
        fields = self.shown(self.make())
        self.assertEqual(fields["expires"] - fields["issued"], 30 * 86_400)

    def test_each_its_own_id(self) -> None:
        """No two tokens have one id."""
        self.assertEqual(len({self.shown(self.make())["id"] for _ in range(20)}), 20)

    def test_not_good(self) -> None:
        """A token that is not good is shown with what it says and what is wrong, and the exit code is 1."""
        token = self.make()
        forged = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
        fields = self.shown(forged, code=1)
        self.assertEqual((fields["subject"], fields["status"]), ("ana", "is not valid"))
        self.assertEqual(self.shown("x", code=1)["status"], "is not valid")
        self.assertIn("subject  -", self.call("show", "x", code=1))
        keys = tokens.load(self.keys)
        expired = keys.sign(tokens.Identity("t", "client", "a\u202eb", 5), 0)
        self.assertEqual(self.shown(expired, code=1)["status"], "has expired")
        self.assertIn(r"subject  a\u{202e}b", self.call("show", expired, code=1))

    def test_any_claims(self) -> None:
        """What somebody else made is shown, whatever is in it."""
        import jwt

        for claims in ({"exp": "soon", "sub": ["x"]}, {"exp": 10**30}, {"exp": None, "iat": -1e400}, {}):
            token = jwt.encode(claims, b"x" * 32)
            self.assertIn("is not valid", self.call("show", token, code=1))
            self.assertEqual(self.shown(token, code=1)["status"], "is not valid")

    def test_without_keys(self) -> None:
        """Without a configuration that names keys, or with keys that others may read, it says what to do."""
        self.run_program("make", "--role", "client", "--subject", "ana", code=1)
        self.assertIn("give --config FILE", self.errors)
        self.keys.chmod(0o644)
        self.call("make", "--role", "client", "--subject", "ana", code=1)
        self.assertIn(f"chmod 600 {self.keys}", self.errors)
        self.config.write_text("[auht]\n")
        self.call("make", "--role", "client", "--subject", "ana", code=1)
        self.assertIn("did you mean auth?", self.errors)


class RevocationTests(Fixture):
    """``revoke`` and ``list-revoked``."""

    def setUp(self) -> None:
        super().setUp()
        self.init()

    def test_by_token(self) -> None:
        """A token is taken back, and kept so until it would have expired; then it is shown as revoked."""
        self.database()
        token = self.make()
        id = self.shown(token)["id"]
        self.call("revoke", "-", input=token + "\n")
        self.assertIn(f"token {id} is revoked; that is kept until 20", self.errors)
        self.assertEqual(self.shown(token, code=1)["status"], "has been revoked")
        (listed,) = json.loads(self.call("list-revoked", "--json"))
        self.assertEqual((listed["id"], listed["expires_at"] > listed["revoked_at"]), (id, True))
        self.assertRegex(self.call("list-revoked"), rf"^{id} revoked 20.* UTC expires 20.* UTC\n$")

    def test_by_id(self) -> None:
        """An id alone is enough; as nobody knows when its token expires, it is kept for ever."""
        self.database()
        self.call("revoke", "some.id-1")
        self.assertIn("token some.id-1 is revoked; that is kept for ever", self.errors)
        self.assertIn("expires unknown", self.call("list-revoked"))
        self.call("revoke", "some.id-1")
        self.assertEqual(len(self.call("list-revoked").splitlines()), 1)

    def test_by_id_without_keys(self) -> None:
        """An id can be taken back where the keys are not at hand."""
        self.database()
        self.keys.unlink()
        self.call("revoke", "some-id")
        self.assertIn("some-id", self.call("list-revoked"))

    def test_neither(self) -> None:
        """What is neither an id nor a token of these keys is refused, and not repeated."""
        self.database()
        token = self.make()
        for text in (token[:-1], "a b", "", "x" * 65, "eyJabcdef"):
            self.call("revoke", "-", code=1, input=text)
            self.assertIn("neither the id of a token nor a token", self.errors)
        self.assertEqual(self.call("list-revoked"), "")

    def test_without_a_database(self) -> None:
        """Where no suite was started there is nothing to write to; a token can be shown all the same."""
        for command in (["revoke", "x"], ["list-revoked"]):
            self.call(*command, code=1)
            self.assertIn("start the suite once", self.errors)
        self.assertEqual(self.shown(self.make())["status"], "good")

    def test_a_database_of_an_older_version(self) -> None:
        """A database without the table is named, in one line."""
        (self.folder / "test.sqlite3").write_bytes(b"")
        self.call("revoke", "x", code=1)
        self.assertIn("has this version of the suite been started with it?", self.errors)
        self.assertEqual(len(self.errors.splitlines()), 1)


class CommandLineTests(Fixture):
    """What is asked for makes sense, or is refused with exit code 2."""

    def test_refused(self) -> None:
        """What cannot be is named."""
        for argv, why in (
            ([], "COMMAND"),
            (["make", "--role", "client"], "--subject"),
            (["make", "--role", "root", "--subject", "a"], "invalid choice"),
            (["make", "--role", "client", "--subject", ""], "1 to 64 characters"),
            (["make", "--role", "client", "--subject", "x" * 65], "1 to 64 characters"),
            (["make", "--role", "client", "--subject", "a\nb"], "control character"),
            *(
                (["make", "--role", "client", "--subject", "a", f"--for={time}"], "is no time such as")
                for time in ("", "5", "0s", "-5s", "5w", "1.5h", "3651d", "9999999999d", "٣d")
            ),
        ):
            self.run_program(*argv, code=2)
            self.assertIn(why, self.errors)

    def test_no_token_in_an_error(self) -> None:
        """R29: a token that stands where it does not belong is not repeated."""
        self.init()
        token = self.make()
        for argv in (
            [token],
            ["make", token],
            ["init", "x", token],
            ["show", token, token],
            ["make", "--role", token],
        ):
            self.run_program(*argv, code=2)
            self.assertNotIn(token[-20:], self.errors)
        self.assertIn("invalid choice: '<token>'", self.errors)
        self.run_program("--config", token, "list-revoked", code=1)
        self.assertNotIn(token[-20:], self.errors)


class GivenTests(SynchronousTestCase):
    """The token that a client program is given."""

    def given(self, path: Path | None, variable: str | None = None) -> str | None:
        self.patch(os, "environ", {} if variable is None else {reaching.TOKEN_VARIABLE: variable})
        return reaching.token(Namespace(token_file=path))

    def written(self, data: bytes) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(data)
        return path

    def test_given(self) -> None:
        """The file comes before the environment; without either there is none."""
        self.assertEqual(self.given(self.written(b"  a.b.c\n"), "x"), "a.b.c")
        self.assertEqual(self.given(None, "x"), "x")
        self.assertIsNone(self.given(None))
        self.assertIsNone(self.given(None, ""))

    def test_not_given(self) -> None:
        """A file that cannot be read, or holds no token, or two, is named and not repeated."""
        for data in (b"", b"\n", b"a b", b"\xff"):
            path = self.written(data)
            with self.assertRaises(program.Failed) as caught:
                self.given(path)
            self.assertEqual(str(caught.exception), f"{path} does not hold one token")
        with self.assertRaises(program.Failed) as caught:
            self.given(Path("nowhere"))
        self.assertEqual(str(caught.exception), "cannot read the token in nowhere: No such file or directory")
