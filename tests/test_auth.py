"""Tokens with real processes: who gets in, who is put out when a token is revoked, what does not start."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import FROM_SERVER, Decoder, encode_request
from tests.peers import Peer, connect
from tests.processes import BIN, LIMIT, READY, Program, Suite
from tests.requirements import require_own_network

STREAM = {"interval": 0.05, "max_messages": 65_535}
CODE = """
import os, socket, sys
listening = socket.socket()
listening.bind(("0.0.0.0", 0))
listening.listen()
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="counter")
os.execv(sys.argv[1], sys.argv[1:])
"""


class BusPeer(Peer):
    """A connection that decodes what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Any] = []
        self._decoder = Decoder(FROM_SERVER)

    def dataReceived(self, data: bytes) -> None:
        self.messages += self._decoder.feed(data)
        self.changed()

    async def next(self) -> Any:
        """The next message."""
        await self.until(lambda: self.messages or None)
        return self.messages.pop(0)


class Fixture(TestCase):
    """A suite with ``[auth]``, whose keys protosuite-token has made."""

    timeout = 3 * LIMIT  # it runs many programs, one after the other
    options: tuple[str, ...] = ()

    async def start(self) -> Suite:
        self.suite = Suite(self, auth={"secret_file": "keys"}, numbers=STREAM)
        await self.token("init", "keys")
        await self.suite.start(*self.options)
        return self.suite

    async def token(self, *arguments: str, code: int = 0) -> str:
        """Run protosuite-token; what it printed."""
        program = Program(
            self,
            BIN / "protosuite-token",
            "--config",
            self.suite.config,
            *arguments,
            folder=self.suite.folder,
        )
        self.assertEqual(await program.exit(), code, program.story())
        self.said = "\n".join(program.errors)
        return "\n".join(program.output)

    async def make(self, role: str, subject: str, *more: str) -> str:
        return await self.token("make", "--role", role, "--subject", subject, *more)

    def file(self, text: str) -> Path:
        path = self.suite.folder / "token"
        path.write_text(text + "\n")
        return path

    async def numbers(self, client: str, token: str | None) -> Peer:
        """A connection that has asked for a stream."""
        peer = await connect(self, self.suite.numbers)
        peer.say("start", client=client, **({} if token is None else {"token": token}))
        return peer

    async def streaming(self, client: str, token: str) -> Peer:
        """A connection on which numbers come."""
        peer = await self.numbers(client, token)
        self.assertEqual((await peer.message())["type"], "session")
        self.assertEqual((await peer.message())["type"], "number")
        return peer

    async def bus(self, *messages: Any) -> BusPeer:
        peer = BusPeer()
        await connect(self, self.suite.ports["bus"], peer)
        peer.send(b"".join(map(encode_request, messages)))
        return peer

    async def ended(self, peer: Peer) -> tuple[str, str]:
        """Code and message of the error that ends a stream."""
        while (message := await peer.message())["type"] == "number":
            pass
        await peer.gone()
        return message["code"], message["message"]

    def assert_no_secret_is_logged(self) -> None:
        """R29: neither a token nor a key is in any line of the log."""
        log = "\n".join(self.suite.log)
        self.assertNotIn("eyJ", log)
        for line in (self.suite.folder / "keys").read_text().splitlines():
            self.assertNotIn(line.split()[1], log)


class DoorTests(Fixture):
    """Who gets in."""

    async def test_the_programs(self) -> None:
        """Who has a token gets what it is for, from a file or the environment; its log shows no secret."""
        suite = await self.start()
        ana = self.file(await self.make("client", "ana"))
        run = suite.client(
            "protosuite-numbers", suite.numbers, "--client", "ana", "--max", "3", "--token-file", ana
        )
        self.assertEqual(await run.exit(), 0, run.story())
        self.assertIn("verified", run.output[0])
        service = await self.make("service", "sensor")
        run = Program(
            self,
            *(BIN / "protosuite-bus", "--port", str(suite.ports["bus"]), "publish", "a", "x"),
            folder=suite.folder,
            environment={"PROTOSUITE_TOKEN": service},
        )
        self.assertEqual((await run.exit(), run.output), (0, ["1"]), run.story())
        self.file(service)
        load = ("--token-file", "token", "load", "--connections", "2", "--seconds", "0.2")
        run = suite.client("protosuite-bus", suite.ports["bus"], *load)
        self.assertEqual(await run.exit(), 0, run.story())
        self.assertEqual(await suite.terminate(), 0)
        self.assert_no_secret_is_logged()

    async def test_the_programs_without(self) -> None:
        """R23: without a token, or with a forged one, the programs end at once with the reason."""
        suite = await self.start()
        forged = self.file((await self.make("client", "ana"))[:-8] + "AAAAAAAA")
        for name, port, *arguments in (
            ("protosuite-numbers", suite.numbers, "--client", "ana"),
            ("protosuite-bus", suite.ports["bus"], "echo", "x"),
            ("protosuite-bus", suite.ports["bus"], "publish", "a", "x"),
            ("protosuite-bus", suite.ports["bus"], "subscribe", "a"),
            ("protosuite-bus", suite.ports["bus"], "load", "--seconds", "60"),
        ):
            run = suite.client(str(name), int(port), *map(str, arguments))
            self.assertEqual(await run.exit(), 1, run.story())
            self.assertIn("unauthenticated: this needs a token", run.errors[-1], run.story())
            run = suite.client(str(name), int(port), "--token-file", forged, *map(str, arguments))
            self.assertEqual(await run.exit(), 1, run.story())
            self.assertIn("unauthenticated: the token is not valid", run.errors[-1], run.story())
        self.assert_no_secret_is_logged()

    async def test_expired(self) -> None:
        """R23: a token closes the connections that live on it when it expires, and opens no others."""
        await self.start()
        token = await self.make("service", "gateway", "--for", "1s")
        # Within the seconds that clocks may differ it is good, and then not any more.
        stream = await self.streaming("ana", token)
        events = await self.bus(pb.Authenticate(token=token), pb.Subscribe(pattern="#"))
        self.assertEqual(await self.ended(stream), ("unauthenticated", "the token has expired"))
        self.assertEqual((await events.next()).message, "the token has expired")
        await events.gone()
        refused = await self.numbers("ana", token)
        self.assertEqual((await refused.message())["message"], "the token has expired")

    async def test_another_role_and_another_subject(self) -> None:
        """R24: another client's stream and another role's action are refused and logged."""
        suite = await self.start()
        mine, others = await self.make("client", "ana"), await self.make("client", "bob")
        stream = await self.streaming("ana", mine)
        thief = await self.numbers("ana", others)
        self.assertEqual((await thief.message())["code"], "forbidden")
        await suite.program.says("refused: forbidden: may not receive the stream of a client id")
        client = await self.bus(pb.Authenticate(token=mine), pb.Publish(topic="chatlog.x", id=5))
        error = await client.next()
        self.assertEqual((error.code, error.id), ("forbidden", 5))
        await suite.program.says("refused: forbidden: may not publish to a topic")
        client.send(encode_request(pb.EchoMessage(content="still here")))
        self.assertEqual((await client.next()).content, "still here")
        run = suite.client(
            "protosuite-bus", suite.ports["bus"], "--token-file", self.file(mine), "subscribe", "#"
        )
        self.assertEqual(await run.exit(), 1, run.story())
        self.assertIn("forbidden: may not subscribe", run.errors[-1])
        self.assertEqual((await stream.message())["type"], "number")


class RevocationTests(Fixture):
    """Tokens that are taken back."""

    options = ("--log-format", "json")

    async def test_while_connected(self) -> None:
        """R23: a token that is revoked closes what lives on it within seconds, and nothing else."""
        suite = await self.start()
        lost, kept = await self.make("service", "gateway"), await self.make("service", "gateway")
        streams = [await self.streaming(client, lost) for client in ("ana", "bob")]
        other = await self.streaming("eve", kept)
        subscriber = suite.client(
            "protosuite-bus", suite.ports["bus"], "--token-file", self.file(lost), "--json", "subscribe", "#"
        )
        watcher = await self.bus(pb.Authenticate(token=kept), pb.Subscribe(pattern="numbers.#"))
        await self.published_until_printed(kept, subscriber)
        await self.token("revoke", lost)
        for stream in streams:
            self.assertEqual(await self.ended(stream), ("unauthenticated", "the token has been revoked"))
        self.assertEqual(await subscriber.exit(), 1, subscriber.story())
        self.assertIn("the token has been revoked", subscriber.errors[-1])
        refused = await self.numbers("ana", lost)
        self.assertEqual((await refused.message())["code"], "unauthenticated")
        watcher.send(encode_request(pb.EchoMessage(content="x")))
        self.assertEqual((await watcher.next()).content, "x")
        self.assertEqual((await other.message())["type"], "number")
        self.assertEqual(
            (await self.token("show", lost, code=1)).splitlines()[-1], "status   has been revoked"
        )
        self.assert_no_secret_is_logged()

    async def published_until_printed(self, token: str, subscriber: Program) -> None:
        """Publish until a subscriber that has just been started prints what comes."""
        peer = await self.bus(pb.Authenticate(token=token))
        while not subscriber.output:
            peer.send(encode_request(pb.Publish(topic="a", id=1)))
            await peer.next()

    async def test_while_it_is_down(self) -> None:
        """R23: what is revoked while the suite is down is refused from its first moment on."""
        suite = await self.start()
        token = await self.make("client", "ana")
        id = json.loads(await self.token("show", "--json", token))["id"]
        await suite.kill()
        await self.token("revoke", id)
        self.assertIn(id, await self.token("list-revoked"))
        await suite.start()
        refused = await self.numbers("ana", token)
        self.assertEqual((await refused.message())["message"], "the token has been revoked")

    async def test_new_keys(self) -> None:
        """A token of a key before the newest is good after a restart; without its key it is not."""
        suite = await self.start()
        old = await self.make("client", "ana")
        await self.token("init", "--rotate", "keys")
        self.assertEqual(await suite.terminate(), 0)
        await suite.start()
        new = await self.make("client", "bob")
        await self.streaming("ana", old)
        await self.streaming("bob", new)
        keys = suite.folder / "keys"
        keys.write_text(keys.read_text().splitlines()[0])
        self.assertEqual(await suite.terminate(), 0)
        await suite.start()
        self.assertEqual(
            (await (await self.numbers("ana", old)).message())["message"], "the token is not valid"
        )
        await self.streaming("bob", new)


class StartTests(TestCase):
    """R30: what may be reached from elsewhere."""

    timeout = LIMIT

    async def test_a_file_of_keys_that_others_may_read(self) -> None:
        """A file of keys that others may read stops the start, with the command that mends it."""
        suite = Suite(self, auth={"secret_file": "keys"})
        (suite.folder / "keys").write_text("x")
        os.chmod(suite.folder / "keys", 0o644)
        (line,) = await suite.refusal()
        self.assertIn("[auth] secret_file: keys can be read by others: chmod 600 keys", line)
        self.assertRegex(line, r"suite\.ini:\d+: ")

    async def test_exposed(self) -> None:
        """R30: beyond this machine without tokens, `allow` or certificates there is no start."""
        suite = Suite(self, bus={"listen": "tcp:0"}, counter={"listen": "tcp:0", "allow": "10.0.0.0/8"})
        for options in ((), ("--check",)):
            (line,) = await suite.refusal(*options)
            number = suite.config.read_text().splitlines().index("[bus]") + 2
            self.assertIn(
                f"suite.ini:{number}: [bus] listen = tcp:0: anybody from elsewhere could use it", line
            )
            self.assertIn("set [auth] secret_file", line)
            self.assertIn("[suite] insecure = yes", line)

    async def test_insecure(self) -> None:
        """R30: with ``insecure = yes`` it starts, and says so at every start."""
        require_own_network()
        suite = Suite(self, suite={"insecure": "yes"}, counter={"listen": "tcp:0"})
        for _ in range(2):
            run = suite.spawn(launcher=("unshare", "--net"))
            await run.says(READY)
            await run.says("anybody from elsewhere can use [counter] tcp:0: [suite] insecure = yes")
            self.assertEqual(await suite.terminate(), 0)

    async def test_a_socket_from_outside(self) -> None:
        """R30: where only the socket itself tells how far it reaches, it is asked before the suite serves."""
        require_own_network()
        launcher = ("unshare", "--net", sys.executable, "-c", CODE)
        suite = Suite(self, counter={"listen": "systemd:domain=INET:index=0"})
        run = suite.spawn(launcher=launcher)
        self.assertEqual(await run.exit(), 1, run.story())
        self.assertIn(
            "[counter] listen = systemd:domain=INET:index=0: anybody from elsewhere", run.errors[-1]
        )
        self.assertNotIn(READY, "".join(run.output))
        suite.write(suite={"insecure": "yes"})
        run = suite.spawn(launcher=launcher)
        await run.says("anybody from elsewhere can use [counter] systemd:domain=INET:index=0")
