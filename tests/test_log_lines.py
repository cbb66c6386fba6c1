"""What strangers say, as it is logged: a line an event, nothing that acts, nobody's secret."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import TestCase
from websockets.frames import Frame, Opcode

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import encode_request
from protosuite.test.web_peers import handshake
from tests.peers import connect
from tests.processes import BIN, LIMIT, Program, Suite, together

EVIL = "mark\r\n2026-01-01T00:00:00.000Z info     suite: forged\x1b[2J\x85\u2028\u2029\u202e\x00\x7f\ud800"
SECRET = "s3cr3t-b1Rd"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warn|error|critical) +[\w.]+: .+")
RAW = EVIL.encode("utf-8", "surrogatepass")
ONE_LINE = bytes(byte for byte in RAW if byte not in b"\r\n\x00")  # as a header or a target can hold it


CLOSE = Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True)


def spoken(path: bytes, *frames: tuple[Opcode, bytes]) -> bytes:
    """What somebody says over a WebSocket, who then closes it."""
    said = [Frame(opcode, data).serialize(mask=True) for opcode, data in frames]
    return b"".join([handshake(start=b"GET " + path + b" HTTP/1.1"), *said, CLOSE])


QUICK = {"idle_timeout": 0.5, "handshake_timeout": 1, "close_timeout": 1}
SETTINGS: dict[str, Any] = {"numbers": {"interval": 0.01}, "chatlog": QUICK, "mediachat": QUICK}


def line(**fields: Any) -> bytes:
    """A line of numbers."""
    return json.dumps(fields).encode() + b"\n"


def request(target: bytes, *headers: bytes) -> bytes:
    """A request, as somebody might make it who knows no rules."""
    lines = [b"GET " + target + b" HTTP/1.1", b"Host: 127.0.0.1", *headers, b"Connection: close", b"", b""]
    return b"\r\n".join(lines)


HEADERS = (
    *(b"Origin: " + ONE_LINE, b"Host: " + ONE_LINE, b"Range: " + ONE_LINE, b"User-Agent: " + ONE_LINE),
    *(b"Sec-WebSocket-Protocol: " + ONE_LINE, ONE_LINE + b": x", b"Content-Type: " + ONE_LINE),
)
SECRETS = (
    *(b"Authorization: Bearer " + SECRET.encode(), b"Authorization: Basic " + SECRET.encode()),
    *(b"Cookie: protosuite_token=" + SECRET.encode(), b"X-Token: " + SECRET.encode()),
)
PAGES = (
    *(request(b"/" + ONE_LINE), request(b"/?x=" + ONE_LINE), request(b"/?token=" + SECRET.encode())),
    *(request(b"/", header) for header in (*HEADERS, *SECRETS)),
)
SAID: dict[str, tuple[bytes, ...]] = {
    "numbers": (
        line(type=EVIL, client="a"),
        line(type="start", client=EVIL),
        line(type="start", client="a", token=EVIL),
        line(type="start", client="a", token=SECRET),
        RAW + b"\n",
    ),
    "counter": (RAW,),
    "bus": tuple(
        encode_request(body)
        for body in (
            pb.Authenticate(token=EVIL.replace("\ud800", "")),
            pb.Authenticate(token=SECRET),
            pb.Subscribe(pattern=EVIL.replace("\ud800", "")),
            pb.Publish(topic=EVIL.replace("\ud800", ""), id=1),
        )
    ),
    "chatlog": (
        *PAGES,
        handshake(b"Origin: https://" + ONE_LINE, start=b"GET /rooms/main HTTP/1.1"),
        handshake(start=b"GET /rooms/" + ONE_LINE + b" HTTP/1.1"),
        *(
            spoken(b"/rooms/main", (Opcode.TEXT, json.dumps(fields).encode()))
            for fields in (
                {"type": EVIL},
                {"type": "ClientAppend", "seq": 0, "author": EVIL, "content": "x"},
                {"type": "ClientAppend", "seq": 0, "author": "a", "content": EVIL, "key": EVIL},
            )
        ),
    ),
    "mediachat": (
        *PAGES,
        handshake(b"Origin: null", start=b"GET /ws/7 HTTP/1.1"),
        handshake(start=b"GET /ws/" + ONE_LINE + b" HTTP/1.1"),
        spoken(b"/ws/7", (Opcode.TEXT, json.dumps({"timezone": EVIL[:-1]}).encode())),
        spoken(b"/ws/7", (Opcode.TEXT, ONE_LINE.decode(errors="ignore").encode())),
        spoken(
            b"/ws/7",
            (Opcode.TEXT, b"UTC"),
            (Opcode.BINARY, json.dumps({"name": EVIL, "size": 1, "kind": EVIL}).encode()),
        ),
    ),
    "admin": PAGES,
}


class LogTests(TestCase):
    """The log of a suite to which strangers talk, with and without ``[auth]``."""

    timeout = 2 * LIMIT

    async def log(self, how: str, is_guarded: bool) -> list[str]:
        """All lines of a suite that has heard everything."""
        suite = Suite(self, **SETTINGS)
        if is_guarded:
            suite.write(auth={"secret_file": "keys"})
            make = Program(
                self, BIN / "protosuite-token", "--config", suite.config, "init", "keys", folder=suite.folder
            )
            self.assertEqual(await make.exit(), 0, make.story())
        await suite.start("--log-format", how)
        await together(self.say(suite.ports[name], data) for name, said in SAID.items() for data in said)
        self.assertEqual(await suite.terminate(), 0)
        self.assertEqual(suite.program.errors, [])
        lines = suite.program.output
        for found in lines:
            self.assertTrue(found.isprintable(), found)
            self.assertNotIn(SECRET, found)
            self.assertFalse(found.startswith("2026-01-01"), found)
        # Who has no token gets nowhere with what it says.
        self.assertEqual(any("mark" in found for found in lines), not is_guarded)
        return lines

    async def say(self, port: int, data: bytes) -> None:
        """Say something, and listen until the server closes."""
        peer = await connect(self, port)
        peer.send(data)
        if not data.endswith(CLOSE):
            peer.finish()
        await peer.everything()
        await peer.abort()

    async def test_text(self) -> None:
        """R29: as text each event is one line, with a time, a level and a service."""
        for is_guarded in (False, True):
            for found in await self.log("text", is_guarded):
                self.assertRegex(found, LINE)
                self.assertNotIn(" critical ", found)

    async def test_json(self) -> None:
        """R29: as JSON each event is one object on one line."""
        for is_guarded in (False, True):
            for found in await self.log("json", is_guarded):
                event = json.loads(found)
                self.assertLessEqual({"time", "level", "namespace", "message"}, event.keys())
                self.assertNotEqual(event["level"], "critical", found)
