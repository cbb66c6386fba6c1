"""``protosuite-cert``: what it makes, with the real server and real clients."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.certificates import Pair, connect_tls, shown_to
from tests.processes import BIN, LIMIT, Program, Suite, free_port
from tests.requirements import require_tls

PROGRAM = "from protosuite.cert.cli import main; main()"


class Fixture(TestCase):
    """A folder, and the program."""

    timeout = LIMIT

    def setUp(self) -> None:
        require_tls()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    async def cert(self, *words: str, code: int = 0) -> Program:
        """Run it."""
        program = Program(self, sys.executable, "-c", PROGRAM, *words, folder=self.folder)
        self.assertEqual(await program.exit(), code, program.story())
        if code:
            self.assertEqual(len(program.errors), 1, program.story())
        return program

    def pair(self, name: str, folder: str = "tls") -> Pair:
        return Pair(self.folder / folder / f"{name}.pem", self.folder / folder / f"{name}.key")

    def listen(self, program: Program, port: int) -> str:
        """The endpoint that it says, on another port."""
        (line,) = [line for line in program.output if line.startswith("listen = ")]
        return line.removeprefix("listen = ").replace(":5501:", f":{port}:")


class MakingTests(Fixture):
    """Certificates that work."""

    async def test_one_that_signs_itself(self) -> None:
        """With the line that it says in suite.ini, its own and OpenSSL's clients that trust it get in."""
        made = await self.cert("self", "tls", "localhost", "127.0.0.1")
        port = free_port()
        suite = Suite(self, chatlog={"listen": self.listen(made, port)})
        await suite.start()
        own = self.pair("server")
        for host in ("localhost", "127.0.0.1"):
            for trusted, code in ((own.cert, 0), (Path(os.devnull), 1)):
                program = Program(
                    self,
                    *(BIN / "protosuite-chatlog", "--tls", "--host", host, "--port", str(port)),
                    *("--timeout", "60" if code == 0 else "2", "--author", "ana", "main"),
                    folder=self.folder,
                    environment={"SSL_CERT_FILE": str(trusted)},
                    input=b"hello\n",
                )
                self.assertEqual(await program.exit(), code, program.story())

    async def test_authority(self) -> None:
        """R37: who has a certificate of the authority gets in, nobody else; a renewed one is served."""
        await self.cert("ca", "tls")
        made = await self.cert("server", "tls", "localhost")
        await self.cert("client", "tls", "ana")
        await self.cert("ca", "other")
        await self.cert("client", "other", "eve")
        port = free_port()
        ca = self.pair("ca")
        suite = Suite(self, numbers={"listen": f"{self.listen(made, port)}:client_ca={ca.cert}"})
        await suite.start()
        for own in (None, self.pair("eve", "other")):
            peer = await connect_tls(self, port, ca, own)
            await peer.until(lambda peer=peer: peer.lost or None, after_end=True)  # type: ignore[misc]
            self.assertEqual(bytes(peer.received), b"")
        serial = self.pair("server").serial
        peer = await connect_tls(self, port, ca, self.pair("ana"))
        peer.say("start", client="ana")
        self.assertEqual((await peer.message())["type"], "session")
        self.assertEqual(shown_to(peer), serial)
        await self.cert("renew", "tls/server.pem")
        await self.cert("renew", "tls/ana.pem")
        await self.cert("renew", "tls/ca.pem")
        again = await connect_tls(self, port, ca, self.pair("ana"))
        again.say("start", client="bob")
        self.assertEqual((await again.message())["type"], "session")
        self.assertNotEqual(self.pair("server").serial, serial)
        self.assertEqual(shown_to(again), self.pair("server").serial)

    async def test_kinds_of_keys(self) -> None:
        """With each kind of key the suite starts, and a client gets in."""
        for kind in ("ec", "rsa", "ed25519"):
            await self.cert("ca", kind, "--key", kind)
            made = await self.cert("server", kind, "localhost", "--key", kind, "--days", "1")
            port = free_port()
            suite = Suite(self, numbers={"listen": self.listen(made, port)})
            await suite.start()
            peer = await connect_tls(self, port, self.pair("ca", kind))
            peer.say("start", client="ana")
            self.assertEqual((await peer.message())["type"], "session")


class FilesTests(Fixture):
    """What is written, and what is not."""

    async def test_rights(self) -> None:
        """Nobody but the owner can read the files, and nothing else is left in the folder."""
        await self.cert("self", "tls", "localhost")
        files = sorted((self.folder / "tls").iterdir())
        self.assertEqual([file.name for file in files], ["server.key", "server.pem"])
        self.assertEqual({stat.S_IMODE(file.stat().st_mode) for file in files}, {0o600})

    async def test_nothing_is_replaced(self) -> None:
        """What is there stays as it is, unless ``--force`` is said; a link is not followed."""
        await self.cert("self", "tls", "localhost")
        before = self.pair("server").cert.read_bytes()
        refused = await self.cert("self", "tls", "localhost", code=1)
        self.assertIn("is there already: --force replaces it", refused.errors[0])
        self.assertEqual(self.pair("server").cert.read_bytes(), before)
        await self.cert("self", "tls", "localhost", "--force")
        self.assertNotEqual(self.pair("server").cert.read_bytes(), before)
        target = self.folder / "target"
        (self.folder / "tls" / "web.key").symlink_to(target)
        await self.cert("self", "tls", "localhost", "--file", "web", code=1)
        self.assertFalse(target.exists())

    async def test_what_was_left(self) -> None:
        """What a run that was killed has left beside its files keeps no later one from them."""
        left = (
            "import os, sys; os.mkdir('tls'); sys.argv[1:] = ['self', 'tls', 'localhost'];"
            "[open(f'tls/.server.{end}.{os.getpid()}', 'x') for end in ('key', 'pem')]; "
        )
        program = Program(self, sys.executable, "-c", left + PROGRAM, folder=self.folder)
        self.assertEqual(await program.exit(), 0, program.story())

    async def test_wrong(self) -> None:
        """What cannot be done is one line that says why, and nothing is written."""
        for words, why in (
            (("server", "none", "localhost"), "there is no authority in none: make one"),
            (("self", "tls", "a..b"), "'a..b' is neither a name nor an address"),
            (("client", "tls", "a/b"), "that name is none for a file: say --file"),
            (("self", "tls", "localhost", "--file", "ca"), "ca is the authority's"),
            (("renew", "tls/none.pem"), "cannot read"),
            (("renew", "tls/none"), "is no certificate of this program"),
            (("self", "/dev/null/x", "localhost"), "cannot write"),
        ):
            self.assertIn(why, (await self.cert(*words, code=1)).errors[0])
        self.assertEqual(list(self.folder.iterdir()), [])

    async def test_without_the_extra(self) -> None:
        """Where the package that makes them is missing, it says what to install."""
        code = "import sys; sys.modules['cryptography'] = None; " + PROGRAM
        program = Program(self, sys.executable, "-c", code, "self", "tls", "localhost", folder=self.folder)
        self.assertEqual(await program.exit(), 1)
        self.assertEqual(len(program.errors), 1, program.story())
        self.assertIn("pip install 'protosuite[tls]'", program.errors[0])
