"""The media chat's service, from frames to disk: clients, consoles, and what goes wrong between them."""

from __future__ import annotations

import errno
import json
from typing import Any

from websockets.frames import Opcode

from protosuite.config import MediaChatConfig
from protosuite.errors import StorageError, StorageFull
from protosuite.hours import NEVER, parse
from protosuite.mediachat.media.folder import FilePart
from protosuite.test.mediachat_peers import PNG, Fixture, Socket, digest
from protosuite.test.web_peers import frame

DATA = bytes(range(256)) * 4
HOSTILE = (
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "/etc/shadow",
    "CON",
    "nul.txt",
    "a/b",
    ".",
    "..",
    ".boot",
    "\u202egnp.exe",
    "ä ö 文 🐟",
    "x" * 255,
    "%2e%2e%2f",
    "a\u2028b",
    '"; filename="x.html',
)


def wait(detail: Any = None) -> StorageError:
    return StorageError(str(detail))


class HelloTests(Fixture):
    """The first frame."""

    def test_refused(self) -> None:
        """What is no zone gets ``invalid-timezone`` and 4000, and nothing behind it is taken."""
        for first in (
            "Mars/Olympus",
            "",
            "europe/paris",
            "../../etc/passwd",
            "{}",
            '{"timezone":3}',
            '{"timezone":"Mars"}',
            '{"timezone":"Europe/Paris","after":-1}',
            '{"timezone":"Europe/Paris","media":"all"}',
            "[1",
            "{" * 9000,
            "Europe/Paris\n\x00",
        ):
            socket = self.plain(zone=first).raw("hello")
            (said,) = socket.heard()
            self.assertEqual((said["status"], said["code"]), ("error", "invalid-timezone"), first[:40])
            self.assertEqual(socket.code, 4000, first[:40])
        self.assertEqual(self.ask("GET", "/chats").fields["items"], [])

    def test_bytes_first(self) -> None:
        """A binary frame is no hello."""
        socket = self.connect("/ws/7").binary(b"Europe/Paris")
        self.assertEqual(socket.statuses(), [("error", "invalid-timezone")])
        self.assertEqual(socket.code, 4000)

    def test_silence(self) -> None:
        """Without a hello in time the connection is closed with 4001; with one it stays."""
        silent, polite = self.connect("/ws/7"), self.plain(8)
        self.clock.advance(self.config.hello_timeout)
        silent.heard(), polite.heard()
        self.assertEqual((silent.code, polite.code), (4001, None))

    def test_ids(self) -> None:
        """A client's id is a positive whole number that JavaScript has exactly."""
        for good in ("1", str(2**53 - 1)):
            self.assertIn(b" 101 ", self.connect(f"/ws/{good}").head)
        for bad in ("0", "-1", "01", "x", "", "1.0", str(2**53), "9" * 400, "%31%00", "1/2", "%C2%B2"):
            self.assertIn(b" 404 ", self.connect(f"/ws/{bad}").head, bad)

    def test_foreign_pages(self) -> None:
        """R22: pages of others may not connect, unless ``origins`` has them."""
        for path in ("/ws/7", "/console/ws"):
            for origin in (b"https://evil.example", b"null", b"http://127.0.0.1:80.evil.example"):
                self.assertIn(b" 403 ", self.connect(path, b"Origin: " + origin).head)
            self.assertIn(b" 101 ", self.connect(path, b"Origin: http://127.0.0.1:80").head)
        self.service = self.start(origins=("https://shop.example",))
        self.assertIn(b" 101 ", self.connect("/ws/7", b"Origin: https://shop.example").head)

    def test_a_chat_a_client(self) -> None:
        """The first hello makes the chat, a later one updates its zone."""
        self.plain(zone="Europe/Paris"), self.plain(zone="Asia/Tokyo"), self.plain(8)
        (newer, older) = self.ask("GET", "/chats").fields["items"]
        self.assertEqual([newer["client_id"], older["client_id"]], [8, 7])
        self.assertEqual((older["timezone"], older["connected"]), ("Asia/Tokyo", 2))

    def test_frames_behind_the_hello(self) -> None:
        """What comes while the chat is opened waits, in order; the connection is not read meanwhile."""
        self.threads.by_hand()
        socket = self.connect("/ws/7").raw("Europe/Paris").raw("a").raw("b")
        self.assertFalse(socket.pipe.reading)
        self.settle()
        self.assertEqual([row["text"] for row in self.rows()], ["a", "b"])
        self.assertTrue(socket.pipe.reading)

    def test_database_away(self) -> None:
        """R34: a chat that cannot be opened closes the connection with 1013."""
        self.database.no_writes = wait()
        socket = self.plain()
        self.assertEqual((socket.heard(), socket.code), ([], 1013))

    def test_gone_while_it_opens(self) -> None:
        """A client that leaves before its chat is open is never counted as there."""
        self.threads.by_hand()
        self.plain().lose()
        self.settle()
        self.assertEqual(self.service.connected(1), 0)

    def test_welcome(self) -> None:
        """An object is answered with the chat and what is open when; a plain zone is not."""
        self.service = self.start(hours_voice=parse("08:00-12:00"), hours_file=NEVER)
        welcome = self.connect("/ws/7").say(timezone="Europe/Paris").one()
        hours = welcome["hours"]
        self.assertEqual(
            (welcome["chat"], hours["text"]["hours"], hours["text"]["open"]), (1, "always", True)
        )
        self.assertEqual(welcome["after"], 0)
        self.assertEqual((hours["voice"]["open"], hours["voice"]["hours"]), (False, "08:00-12:00"))
        self.assertEqual(hours["voice"]["next_open_at"], (1_700_000_000 - 800 + 60 * 60 + 8 * 3600) * 1000)
        self.assertEqual((hours["file"]["open"], hours["file"]["next_open_at"]), (False, None))
        self.assertEqual(self.plain().heard(), [])


class TextTests(Fixture):
    """Texts of a client."""

    def test_plain(self) -> None:
        """A text frame of a plain client is a text, whatever it looks like."""
        socket = self.plain().raw('{"type":"cancel"}').raw("hi")
        self.assertEqual(socket.statuses(), [("saved", 1), ("saved", 2)])
        self.assertEqual([row["text"] for row in self.rows()], ['{"type":"cancel"}', "hi"])
        self.assertEqual(self.rows()[0]["from"], "client")

    def test_bad(self) -> None:
        """What is no text gets an error in its turn, and the next is taken."""
        socket = self.client()
        socket.raw("nonsense").say(type="sing").text("").text("x" * 16_385).text("a\0b").text(
            "ok", key="k" * 65
        )
        socket.text("good")
        codes = ["bad-json", "unknown-type", "bad-field", "bad-field", "bad-field", "bad-field"]
        self.assertEqual(socket.statuses(), [*(("error", code) for code in codes), ("saved", 1)])

    def test_key(self) -> None:
        """R3: a text whose key is there is answered as the first time, also by another server."""
        first = self.client().text("hi", key="k")
        self.assertEqual(first.one()["key"], "k")
        first.lose()
        self.service = self.start()
        again = self.client().text("hi", key="k").text("hi")
        self.assertEqual(again.statuses(), [("saved", 1), ("saved", 2)])
        other = self.client(8).text("hi", key="k")
        self.assertEqual(other.statuses(), [("saved", 3)])
        self.assertEqual([chat["unread"] for chat in self.ask("GET", "/chats").fields["items"]], [1, 2])

    def test_outside_the_hours(self) -> None:
        """A text outside the hours is recorded without what it says, and told when they begin."""
        self.service = self.start(hours_text=parse("05:00-22:59"))
        socket = self.client().text("secret", key="k")
        said = socket.one()
        self.assertEqual((said["status"], said["message"], said["key"]), ("discarded", 1, "k"))
        self.assertEqual(said["next_open_at"], (1_700_000_000 - 800 + 60 * 60 + 5 * 3600) * 1000)
        (row,) = self.rows()
        self.assertEqual((row["status"], "text" in row), ("discarded", False))
        self.assertEqual(self.ask("GET", "/chats").fields["items"][0]["unread"], 0)
        self.service = self.start(hours_text=NEVER)
        self.assertNotIn("next_open_at", self.client().text("x").one())

    def test_answers_in_order(self) -> None:
        """Answers come in the order of what was said, and so do the ids, however long a file takes."""
        socket = self.client()
        self.threads.by_hand()
        socket.begin(4).binary(b"abcd").text("behind it").raw("nonsense").begin(0).text("last")
        self.threads.write()
        self.assertEqual(socket.heard(), [])
        self.settle()
        self.assertEqual(
            socket.statuses(),
            [("saved", 1), ("saved", 2), ("error", "bad-json"), ("saved", 3), ("saved", 4)],
        )
        self.assertEqual([row["kind"] for row in self.rows()], ["file", "text", "file", "text"])

    def test_database_away(self) -> None:
        """R34: what cannot be stored is said to be so, in order, and the next is stored."""
        socket = self.client()
        self.database.no_writes = wait("secret/path")
        socket.text("a", key="k").begin(3).binary(b"abc")
        self.database.no_writes = StorageFull("no room")
        socket.text("b")
        self.database.no_writes = None
        socket.text("c")
        heard = socket.heard()
        self.assertEqual([each.get("code") for each in heard], ["storage", "storage", "full", None])
        self.assertNotIn("secret", json.dumps(heard))
        self.assertEqual(heard[0]["key"], "k")
        self.assertEqual([row["text"] for row in self.rows()], ["c"])

    def test_too_many(self) -> None:
        """A connection whose texts wait is not read, and read again when they are stored."""
        self.service = self.start(max_pending=3)
        socket = self.client()
        self.threads.by_hand()
        for _ in range(3):
            self.assertTrue(socket.pipe.reading)
            socket.text("x")
        self.assertFalse(socket.pipe.reading)
        socket.text("y")
        self.settle()
        self.assertTrue(socket.pipe.reading)
        self.assertEqual(len(socket.statuses()), 4)


class MediaTests(Fixture):
    """Media of a client."""

    def test_stored(self) -> None:
        """A file comes cut anywhere, is stored by its hash, and its type found from its bytes."""
        socket = self.client().begin(len(PNG), "a.exe", "image", type="text/html", sha256=digest(PNG))
        for i in range(0, len(PNG), 100):
            socket.binary(PNG[i : i + 100])
        self.assertEqual(socket.statuses(), [("saved", 1)])
        (row,) = self.rows()
        self.assertEqual(row["type"], "image/png")
        self.assertEqual((row["sha256"], row["size"], row["name"]), (digest(PNG), len(PNG), "a.exe"))
        self.assertEqual((self.files(), self.parts()), ([digest(PNG)], []))
        self.assertEqual(self.ask("GET", row["url"]).body, PNG)

    def test_stored_twice(self) -> None:
        """The same bytes are one file and two messages."""
        for id in (7, 8):
            self.client(id).begin(3).binary(b"abc")
        self.assertEqual(self.files(), [digest(b"abc")])
        self.assertEqual([self.ask("GET", f"/media/{id}").body for id in (1, 2)], [b"abc", b"abc"])

    def test_empty(self) -> None:
        """A file of no bytes is stored at once; no frame follows, and one that does is a head."""
        socket = self.client().begin(0).text("next").begin(0, upload="u")
        self.assertEqual([each["status"] for each in socket.heard()], ["saved", "saved", "ready", "saved"])
        answer = self.ask("GET", "/media/1")
        self.assertEqual((answer.status, answer.headers["content-length"], answer.body), (200, "0", b""))
        self.assertEqual(self.ask("GET", "/media/1", b"", "Range: bytes=0-").status, 416)

    def test_hostile_names(self) -> None:
        """R25: a name is data. It is given back as it was, and no path has anything of it."""
        socket = self.client()
        for number, name in enumerate(HOSTILE, 1):
            socket.begin(3, name, upload=name[:64]).binary(f"{number:03}".encode())
        self.assertEqual([row["name"] for row in self.rows()], list(HOSTILE))
        found = {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}
        hashes = {digest(f"{number:03}".encode()) for number in range(1, len(HOSTILE) + 1)}
        media_files = {f"media/{each[:2]}/{each[2:]}" for each in hashes}
        self.assertEqual(
            {each for each in found if not each.startswith("test.sqlite3")}, media_files | {"parts/.boot"}
        )
        for row in self.rows():
            place = self.ask("GET", row["url"]).headers["content-disposition"]
            self.assertTrue(place.isascii())
            self.assertRegex(
                place, "^attachment; filename=\"[A-Za-z0-9 ._-]+\"; filename\\*=UTF-8''[A-Za-z0-9._~%-]*$"
            )
            self.assertNotIn("%E2%80%AE", place)

    def test_bad_heads(self) -> None:
        """A head that is none, and names that cannot be, close the connection: what follows has no sense."""
        good = {"name": "a", "size": 1, "kind": "file"}
        for bad in (
            {"name": "x" * 300},
            {"name": ""},
            {"name": "a\0b"},
            {"name": "a\nb"},
            {"name": "\ud800"},
            {"name": 7},
            {"size": -1},
            {"size": 1.5},
            {"size": True},
            {"size": 2**53},
            {"size": None},
            {"kind": "text"},
            {"sha256": "A" * 64},
            {"sha256": "a" * 63},
            {"upload": ""},
            {"upload": "u" * 65},
            {"type": "x" * 256},
        ):
            socket = self.client().binary(json.dumps(good | bad).encode()).text("not taken")
            self.assertEqual(socket.statuses(), [("error", "bad-field")], bad)
            self.assertEqual(socket.code, 4003, bad)
        for junk in (b"", b"\xff", b"[]", b"{", b"null", b"[" * 100_000):
            socket = self.client().binary(junk)
            self.assertEqual((socket.statuses(), socket.code), ([("error", "bad-json")], 4003), junk[:9])
        self.assertEqual(self.rows(), [])

    def test_overrun(self) -> None:
        """R14: more bytes than announced end the connection; nothing of that file stays without a name."""
        socket = self.client().text("before").begin(3).binary(b"ab").binary(b"cd")
        self.assertEqual(socket.statuses(), [("saved", 1), ("error", "overrun")])
        self.assertEqual((socket.code, self.parts(), self.files()), (4003, [], []))

    def test_overrun_as_it_comes(self) -> None:
        """R14: so does a frame that is too long, however it is cut: nothing of it is stored."""
        image = frame(Opcode.BINARY, b"abcd")
        for cut in range(1, len(image)):
            socket = self.client().begin(3).send(image[:cut]).send(image[cut:])
            self.assertEqual(socket.statuses(), [("error", "overrun")])
        self.assertEqual((self.rows(), self.parts(), self.files()), ([], [], []))

    def test_stop_within_a_frame(self) -> None:
        """A stop in the middle of a frame ends the upload; the rest of that frame is of no consequence."""
        socket = self.client().begin(9, upload="u")
        image = frame(Opcode.BINARY, b"abcdefghi")
        socket.send(image[:-4])
        for connection in list(self.service.connections):
            connection.shut_down()
        socket.send(image[-4:])
        socket.heard()
        self.assertEqual((socket.code, self.rows()), (1001, []))
        [part] = self.parts()
        self.assertEqual((self.root / "parts" / part).read_bytes(), b"abcde")

    def test_underrun(self) -> None:
        """Fewer bytes, and the connection is gone: no row, and only a part with a name stays."""
        self.client().begin(3).binary(b"ab").lose()
        self.client().begin(3, upload="u").binary(b"ab").leave()
        self.assertEqual((self.rows(), self.files(), len(self.parts())), ([], [], 1))

    def test_too_large(self) -> None:
        """R14: a size over the limit is refused at the head, and its bytes are dropped."""
        self.service = self.start(max_media=10)
        socket = self.client().begin(11).binary(b"x" * 11).text("next").begin(11, upload="u").text("more")
        self.assertEqual(
            socket.statuses(), [("error", "too-large"), ("saved", 1), ("error", "too-large"), ("saved", 2)]
        )
        self.assertEqual(self.parts(), [])

    def test_wrong_hash(self) -> None:
        """R28: bytes with another hash than announced are not stored, and nothing of them stays."""
        for more in ({}, {"upload": "u"}):
            socket = self.client().begin(3, sha256=digest(b"abd"), **more).binary(b"abc").text("next")
            statuses = [each for each in socket.heard() if each["status"] != "ready"]
            self.assertEqual([each.get("code") for each in statuses], ["bad-hash", None])
            self.assertEqual((self.parts(), self.files()), ([], []))

    def test_outside_the_hours(self) -> None:
        """Outside the hours bytes are drained: a row, and no file; with a name none are awaited."""
        self.service = self.start(hours_file=parse("08:00-12:00"))
        socket = (
            self.client().begin(3, "x").binary(b"ab").binary(b"c").begin(3, upload="u").begin(1, kind="voice")
        )
        said = socket.binary(b"v").heard()
        self.assertEqual([each["status"] for each in said], ["discarded", "discarded", "saved"])
        self.assertEqual(said[0]["next_open_at"], (1_700_000_000 - 800 + 60 * 60 + 8 * 3600) * 1000)
        self.assertEqual(said[1]["upload"], "u")
        rows = self.rows()
        self.assertEqual([row["status"] for row in rows], ["discarded", "discarded", "saved"])
        self.assertEqual((rows[0]["name"], rows[0]["size"], "url" in rows[0]), ("x", 3, False))
        self.assertEqual(self.files(), [digest(b"v")])
        self.assertEqual(self.ask("GET", "/media/1").status, 404)
        again = self.client().begin(3, upload="u").heard()[0]  # as one does whose answer was lost
        self.assertEqual((again["status"], again["message"]), ("discarded", said[1]["message"]))

    def test_cancel(self) -> None:
        """A cancelled upload is over, also when no answer had come: the next head is a head."""
        socket = self.client().begin(9).binary(b"abc").say(type="cancel").begin(1).binary(b"z")
        self.assertEqual(socket.statuses(), [("error", "cancelled"), ("saved", 1)])
        self.threads.by_hand()
        socket.begin(9, upload="u").say(type="cancel").begin(5, upload="w").say(type="cancel")
        socket.begin(2, upload="v")
        self.settle()
        statuses = [(each.get("code") or each["status"], each.get("upload")) for each in socket.heard()]
        self.assertEqual(statuses, [("cancelled", None), ("cancelled", None), ("ready", "v")])
        socket.binary(b"ab")
        self.settle()
        self.assertEqual(socket.statuses(), [("saved", 2)])
        self.assertEqual(len(self.service.uploads), 0)

    def test_not_read_while_the_disk_is_slow(self) -> None:
        """A connection whose bytes wait for the disk is not read, also when all of a file has come."""
        self.service = self.start(max_unwritten=64 << 10)
        socket = self.client()
        self.threads.by_hand()
        socket.begin(100_000).binary(bytes(40_000))
        self.assertTrue(socket.pipe.reading)
        socket.binary(bytes(60_000))
        self.assertFalse(socket.pipe.reading)
        self.settle()
        self.assertTrue(socket.pipe.reading)
        self.assertEqual(socket.statuses(), [("saved", 1)])
        for _ in range(8):
            self.assertTrue(socket.pipe.reading)
            socket.begin(0)
        self.assertFalse(socket.pipe.reading)
        self.settle()
        self.assertEqual(len(socket.heard()), 8)

    def test_disk_full(self) -> None:
        """R6: with no room an upload ends with ``full``, is read to its end, and leaves nothing behind."""
        self.no_room(errno.ENOSPC)

    def test_disk_quota(self) -> None:
        """R6: so it does where there is room, but not for who runs the suite."""
        self.no_room(errno.EDQUOT)

    def no_room(self, number: int) -> None:
        """An upload, whose first write fails for that."""
        self.service = self.start(max_unwritten=64 << 10)
        socket = self.client()
        self.threads.by_hand()
        real = FilePart.write

        def full(*arguments: Any) -> None:
            raise OSError(number, "no room")

        self.patch(FilePart, "write", full)
        socket.begin(200_000, upload="u")
        self.settle()
        self.assertEqual([each["status"] for each in socket.heard()], ["ready"])
        socket.binary(bytes(100_000))
        self.assertFalse(socket.pipe.reading)
        self.settle()
        self.assertEqual(socket.statuses(), [("error", "full")])
        self.assertTrue(socket.pipe.reading)
        self.patch(FilePart, "write", real)
        socket.binary(bytes(100_000)).text("next").begin(1).binary(b"x")
        self.settle()
        self.assertEqual(socket.statuses(), [("saved", 1), ("saved", 2)])
        self.assertEqual(self.parts(), [])

    def test_quota(self) -> None:
        """R27: the quota of a chat is exact, whoever sends at once; it is told early where it can be."""
        self.service = self.start(quota_per_chat=10)
        first, second = self.client(), self.client()
        first.begin(6, upload="a"), second.begin(6, upload="b")
        first.heard(), second.heard()
        first.binary(b"aaaaaa"), second.binary(b"bbbbbb")
        self.assertEqual(first.statuses() + second.statuses(), [("saved", 1), ("error", "quota")])
        self.assertEqual(first.begin(5, upload="c").statuses(), [("error", "quota")])
        self.assertEqual(self.post(b"12345").status, 507)
        self.assertEqual(self.post(b"1234").status, 201)
        self.assertEqual(first.one()["id"], 2)
        self.assertEqual(first.begin(0).statuses(), [("saved", 3)])
        self.assertEqual(self.parts(), [])

    def test_database_away_at_the_head(self) -> None:
        """R34: an upload that cannot be looked up is refused, also behind a stored one; the next works."""
        socket = self.client().begin(1).binary(b"x")
        self.database.no_reads = wait()
        socket.begin(3, upload="u")
        self.database.no_reads = None
        socket.begin(3, upload="u")
        self.assertEqual(
            [each.get("code") or each["status"] for each in socket.heard()], ["saved", "storage", "ready"]
        )


class ResumeTests(Fixture):
    """Uploads with names."""

    def ready(self, socket: Socket, **more: Any) -> int:
        """Announce the file of these tests: the offset where it goes on."""
        said = socket.begin(len(DATA), upload="u", **more).one()
        self.assertEqual((said["status"], said["upload"]), ("ready", "u"))
        return int(said["offset"])

    def test_goes_on(self) -> None:
        """R5: an upload that was broken off goes on where the server has it, also after a restart."""
        socket = self.client()
        self.assertEqual(self.ready(socket), 0)
        socket.binary(DATA[:100]).lose()
        socket = self.client()
        self.assertEqual(self.ready(socket), 100)
        socket.binary(DATA[100:300]).lose()
        self.service = self.start()
        socket = self.client()
        self.assertEqual(self.ready(socket), 300)
        self.assertEqual(socket.binary(DATA[300:]).statuses(), [("saved", 1)])
        self.assertEqual(self.rows()[0]["sha256"], digest(DATA))
        self.assertEqual(self.parts(), [])

    def test_all_there(self) -> None:
        """An upload of which only the end was not told needs no more bytes."""
        socket = self.client()
        self.ready(socket)
        self.threads.by_hand()
        socket.binary(DATA[:-1])
        self.threads.media.run()
        socket.lose()
        self.settle()
        path = next((self.root / "parts").glob("[!.]*"))
        path.write_bytes(DATA)  # the last byte came, and then the server died
        self.threads.by_hand(False)
        socket = self.client().begin(len(DATA), upload="u")
        self.assertEqual([each["status"] for each in socket.heard()], ["ready", "saved"])

    def test_lost_answer(self) -> None:
        """R3: who did not hear that it was saved hears it again, and it is stored once."""
        socket = self.client()
        self.ready(socket)
        socket.binary(DATA).lose()
        again = self.client().begin(len(DATA), upload="u").begin(len(DATA), upload="u", sha256=digest(DATA))
        self.assertEqual(again.statuses(), [("saved", 1), ("saved", 1)])
        self.assertEqual(len(self.rows()), 1)

    def test_mismatch(self) -> None:
        """A name that was used for something else is refused, by its size, name, kind or hash."""
        socket = self.client()
        self.ready(socket)
        socket.binary(DATA).heard()
        for more in ({"name": "b"}, {"size": 3}, {"kind": "voice"}, {"sha256": "0" * 64}):
            fields = {"name": "a.bin", "size": len(DATA), "kind": "file", "upload": "u"} | more
            socket.binary(json.dumps(fields).encode())
            self.assertEqual(socket.statuses(), [("error", "upload-mismatch")], more)

    def test_other_heads_are_other_uploads(self) -> None:
        """A part is gone on with only by the head that it was begun by, in its own chat."""
        socket = self.client()
        self.ready(socket)
        socket.binary(DATA[:100]).lose()
        self.assertEqual(self.client().begin(len(DATA), "b", upload="u").one()["offset"], 0)
        self.assertEqual(self.client(8).begin(len(DATA), upload="u").one()["offset"], 0)
        self.assertEqual(self.ready(self.client()), 100)

    def test_taken_over(self) -> None:
        """Of two connections that send the same, the later goes on; the earlier is told, and works on."""
        first, second = self.client(), self.client()
        self.ready(first)
        first.binary(DATA[:100])
        self.assertEqual(self.ready(second), 100)
        self.assertEqual(first.statuses(), [("error", "taken-over")])
        first.binary(DATA[100:]).text("next")
        self.assertEqual(first.statuses(), [("saved", 1)])
        self.assertEqual(second.binary(DATA[100:]).statuses(), [("saved", 2)])
        self.assertEqual((len(self.rows()), self.rows()[1]["sha256"]), (2, digest(DATA)))

    def test_taken_over_at_its_end(self) -> None:
        """An upload that is complete when another connection asks for it is saved once, for both."""
        first, second = self.client(), self.client()
        self.ready(first)
        self.threads.by_hand()
        first.binary(DATA)
        second.begin(len(DATA), upload="u")
        self.settle()
        said = second.heard()
        if said[0]["status"] == "ready":
            second.binary(DATA[said[0]["offset"] :])
            self.settle()
            said = second.heard()
        self.assertEqual([(said[0]["status"], said[0]["message"])], first.statuses())
        self.assertEqual(len(self.rows()), 1)

    def test_taken_over_while_it_finishes(self) -> None:
        """One that has said its last byte to a connection that was taken over is answered all the same."""
        first, second = self.client(), self.client()
        self.ready(first)
        self.threads.by_hand()
        second.begin(len(DATA), upload="u")
        first.binary(DATA)
        for connection in list(self.service.connections):
            connection.shut_down()
        self.settle()
        first.heard(), second.heard()
        self.assertEqual((first.code, second.code), (1001, 1001))


class DeskTests(Fixture):
    """What the desk says, and what it sees."""

    def test_connected_and_away(self) -> None:
        """R5: a client that is there hears at once, on each connection; one that is away on its return."""
        one, two = self.client(), self.client(media="inline")
        self.assertEqual(self.ask("POST", "/chats/1/messages", {"text": "hi"}).status, 201)
        self.assertEqual(one.one()["text"], "hi")
        self.assertEqual(two.one()["text"], "hi")
        one.lose()
        two.lose()
        self.assertEqual(self.ask("POST", "/chats/1/messages", {"text": "there?"}).status, 202)
        self.assertEqual(self.post(b"abc").status, 202)
        back = self.client(after=1)
        self.assertEqual(
            [(each["type"], each["id"]) for each in back.heard()], [("message", 2), ("media", 3)]
        )

    def test_plain_clients_once(self) -> None:
        """A plain client gets what it missed once, media with bytes; a JSON client what is behind `after`."""
        self.plain().lose()
        self.tell("a"), self.post(DATA), self.tell("b")
        plain = self.plain()
        heard = plain.heard()
        self.assertEqual([each if isinstance(each, bytes) else each["id"] for each in heard], [1, 2, DATA, 3])
        plain.lose()
        self.assertEqual(self.plain().heard(), [])
        self.assertEqual(self.client(after=0).heard(), [*(h for h in heard if not isinstance(h, bytes))])
        self.assertEqual(self.client(after=2).one()["id"], 3)
        self.assertEqual(self.client().heard(), [])
        self.assertEqual(self.client(after=1, media="inline").heard()[1], DATA)

    def test_lost_file(self) -> None:
        """A media message whose file has vanished is passed over, and what is behind it comes."""
        self.client().lose()
        self.post(DATA)
        self.tell("behind")
        self.folder.path(digest(DATA)).unlink()
        self.assertEqual([each["id"] for each in self.client(after=0, media="inline").heard()], [2])

    def test_cut_file(self) -> None:
        """A file that is shorter than it was ends the connection: the next could be taken for the rest."""
        self.client().lose()
        self.post(DATA)
        self.tell("behind")
        self.folder.path(digest(DATA)).write_bytes(DATA[:100])
        client = self.client(after=0, media="inline")
        media, part = client.heard()
        self.assertEqual((media["id"], part, client.code), (1, DATA[:100], 1013))
        self.folder.path(digest(DATA)).write_bytes(DATA)  # from a backup
        self.assertEqual(self.client(after=0, media="inline").heard()[1], DATA)

    def test_order(self) -> None:
        """Whatever is said while a client reads a long file comes behind it, in the order of the ids."""
        client = self.client(media="inline")
        client.pipe.peer_reads = False
        big = bytes(400_000)
        self.post(big)
        for number in range(120):
            self.tell(str(number))
        client.pipe.peer_reads = True
        client.pipe.pump()
        self.settle()
        heard = client.heard()
        self.assertEqual(b"".join(each for each in heard if isinstance(each, bytes)), big)
        ids = [each["id"] for each in heard if not isinstance(each, bytes)]
        self.assertEqual(ids, list(range(1, 122)))
        self.assertEqual(heard[1].__class__, bytes)

    def test_stopped_reader(self) -> None:
        """R16: a client that takes nothing of a file is cut off, with little of it in memory."""
        client = self.client(media="inline")
        client.pipe.peer_reads = False
        self.post(bytes(5_000_000))
        self.assertLess(sum(map(len, client.pipe.pieces)), 300_000)
        self.clock.advance(self.config.write_timeout)
        self.clock.advance(self.config.close_timeout)
        client.pipe.pump()
        self.assertTrue(client.pipe.lost)
        self.assertEqual(self.service.connected(1), 0)

    def test_consoles_see_the_same(self) -> None:
        """Each console is told of each message, of clients that come and go, and of what was read."""
        one, two = self.console(), self.console()
        client = self.client()
        client.text("hi").begin(1).binary(b"x")
        self.tell()
        self.ask("POST", "/chats/1/read", {"upto": 1})
        client.lose()
        seen = one.heard()
        self.assertEqual(seen, two.heard())
        self.assertEqual(
            [each["type"] for each in seen], ["chat", "message", "message", "message", "chat", "presence"]
        )
        self.assertEqual([each["message"] for each in seen[1:4]], self.rows())
        self.assertEqual((seen[0]["connected"], seen[5]["connected"]), (1, 0))
        self.assertEqual((seen[0]["chat"]["unread"], seen[4]["chat"]["unread"]), (0, 1))
        one.raw("a console says nothing here").binary(b"x")
        self.assertEqual((one.heard(), one.code), ([], None))

    def test_published(self) -> None:
        """The bus is told of each message, without what it says."""
        self.client().text("secret")
        self.tell("secret")
        self.assertEqual([topic for topic, _ in self.events], ["mediachat.1.message"] * 2)
        self.assertNotIn("secret", json.dumps(self.events))

    def test_database_away(self) -> None:
        """R34: a client that cannot be told what comes next is closed with 1013, and told when it returns."""
        client = self.client()
        self.tell("a")
        client.heard()
        self.database.no_reads = wait()
        self.assertEqual(self.ask("POST", "/chats/1/messages", {"text": "b"}).status, 201)
        self.assertEqual((client.heard(), client.code), ([], 1013))
        self.database.no_reads = None
        self.assertEqual(self.client(after=1).one()["text"], "b")


class StopTests(Fixture):
    """R31: SIGTERM."""

    def stop(self) -> None:
        for connection in list(self.service.connections):
            connection.shut_down()

    def test_answered_first(self) -> None:
        """What has come is stored and answered before the close; what has not is a part to go on with."""
        writer, sender, idle = self.client(), self.client(8), self.console()
        whole = self.client(9)
        self.threads.by_hand()
        sender.begin(9, upload="u")
        self.settle()
        sender.heard()
        sender.binary(b"abc")
        writer.text("last words")
        whole.begin(3).binary(b"xyz")
        self.stop()
        idle.heard(), writer.heard()
        self.assertEqual((idle.code, writer.code), (1001, None))
        self.settle()
        self.assertEqual(writer.statuses(), [("saved", 1)])
        self.assertEqual(whole.statuses(), [("saved", 2)])
        sender.heard()
        self.assertEqual((writer.code, whole.code, sender.code), (1001, 1001, 1001))
        self.assertEqual(len(self.parts()), 1)

    def test_while_it_opens(self) -> None:
        """A client whose chat is being opened is told 1001."""
        self.threads.by_hand()
        socket = self.plain()
        self.stop()
        socket.heard()
        self.settle()
        socket.heard()
        self.assertEqual(socket.code, 1001)


class DefaultHoursTests(Fixture):
    """The hours that are shipped."""

    config = MediaChatConfig()

    def test_at_a_quarter_past_eleven(self) -> None:
        """At 23:13 in Paris text, files, pictures and video are taken, voice is not; in Tokyo it is 07:13."""
        for zone, kinds in (("Europe/Paris", "image file video"), ("Asia/Tokyo", "")):
            socket = self.connect("/ws/7").say(timezone=zone).text("x")
            for kind in ("voice", "image", "file", "video"):
                socket.begin(0, kind=kind)
            said = {each["type"]: each for each in socket.heard()}
            self.assertIn("status", said)
            rows = self.rows()[-5:]
            taken = " ".join(row["kind"] for row in rows if row["status"] == "saved")
            self.assertEqual(taken, f"text {kinds}".strip())
