"""What the desk does over HTTP: answers, refusals, and files that go to the disk as they come."""

from __future__ import annotations

import errno
import gzip
import json
import re
from importlib.resources import files
from random import Random
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from protosuite.errors import Overloaded, StorageError, StorageFull
from protosuite.mediachat.media.folder import FilePart
from protosuite.net.http import MAX_BODY
from protosuite.test.mediachat_peers import OPEN, PNG, Answer, Fixture, digest
from protosuite.test.web_peers import Pipe

PLACES = st.integers(0, 3100)
RANGES = st.one_of(
    st.tuples(PLACES, PLACES).map(lambda ends: f"{min(ends)}-{max(ends)}"),
    PLACES.map(lambda first: f"{first}-"),
    PLACES.map(lambda count: f"-{count}"),
)
API = ("/chats", "/messages?chat_id=1", "/media/1", "/openapi.json")


class ApiCase(Fixture):
    """There is one client, with a picture."""

    def setUp(self) -> None:
        super().setUp()
        self.client(7).begin(len(PNG), "a.png", "image").binary(PNG)

    def assert_problem(self, answer: Answer, status: int) -> None:
        """A refusal is told as RFC 9457 has it."""
        self.assertEqual(
            (answer.status, answer.headers["content-type"]), (status, "application/problem+json")
        )
        self.assertEqual((answer.fields["status"], answer.fields["type"]), (status, "about:blank"))


class AnswerTests(ApiCase):
    """What each call gives."""

    def test_description(self) -> None:
        """The description names every call that there is, and is what is served."""
        text = (files("protosuite.mediachat") / "openapi.json").read_text("utf-8")
        self.assertEqual(self.ask("GET", "/openapi.json").fields, json.loads(text))
        for path, calls in json.loads(text)["paths"].items():
            for method in calls:
                there = path.replace("{chat_id}", "1").replace("{message_id}", "1")
                self.assertNotIn(self.ask(method.upper(), there).status, (404, 405), path)

    def test_chats(self) -> None:
        """Chats come by their newest activity, page by page, each once, also where times are equal."""
        for id in range(8, 17):
            self.client(id)
        seen, more = [], "/chats?limit=3"
        while more:
            page = self.ask("GET", more).fields
            seen += [chat["client_id"] for chat in page["items"]]
            more = f"/chats?limit=3&after={page['next']}" if page["next"] else ""
        self.assertEqual(seen, [16, 15, 14, 13, 12, 11, 10, 9, 8, 7])
        self.clock.advance(1)
        self.tell(chat=4)
        first = self.ask("GET", "/chats?limit=1").fields["items"][0]
        self.assertEqual((first["id"], first["last_message_at"] - first["created_at"]), (4, 1000))
        self.assertEqual(self.ask("GET", "/chats?client_id=9").fields["items"][0]["id"], 3)
        self.assertEqual(self.ask("GET", "/chats?client_id=99").fields["items"], [])

    def test_messages(self) -> None:
        """Messages are paged from the beginning, behind one, before one, by offset, and between two."""
        for number in range(2, 31):
            self.tell(str(number))

        def page(query: str) -> list[int]:
            found = self.ask("GET", f"/messages?chat_id=1{query}").fields["items"]
            return [each["id"] for each in found]

        self.assertEqual(page(""), list(range(1, 11)))
        self.assertEqual(page("&limit=100"), list(range(1, 31)))
        self.assertEqual(page("&after=10&limit=3"), [11, 12, 13])
        self.assertEqual(page("&before=10&limit=3"), [7, 8, 9])
        self.assertEqual(page("&before=31&limit=2"), [29, 30])
        self.assertEqual(page("&offset=28"), [29, 30])
        self.assertEqual(page("&before=10&after=7"), [8, 9])
        self.assertEqual(page("&before=1") + page("&after=30") + page("&offset=99"), [])

    def test_unread(self) -> None:
        """What the client said is unread until it is read, and never becomes so again."""
        client = self.client()
        for _ in range(4):
            client.text("x")

        def read(upto: Any) -> int:
            return int(self.ask("POST", "/chats/1/read", {"upto": upto}).fields["unread"])

        self.assertEqual([read(0), read(2), read(1), read(4.0), read(99)], [5, 3, 3, 1, 0])
        client.text("x")
        self.assertEqual(self.ask("GET", "/chats").fields["items"][0]["unread"], 1)
        self.assert_problem(self.ask("POST", "/chats/9/read", {"upto": 1}), 404)

    def test_said_once(self) -> None:
        """R3: a text and a file whose keys are there are not stored again."""
        ids = [self.ask("POST", "/chats/1/messages", {"text": "x", "key": "k"}).fields["id"] for _ in "ab"]
        ids += [self.post(b"x", "name=a&kind=file&key=f").fields["id"] for _ in "ab"]
        ids.append(self.tell("x"))
        self.assertEqual(ids, [2, 2, 3, 3, 4])

    def test_longest_text(self) -> None:
        """A text of 16,384 characters fits, however it is escaped; one more is refused."""
        body = json.dumps({"text": "🐟" * 16_384}).encode()
        self.assertGreater(len(body), 190_000)
        self.assertLess(len(body), MAX_BODY)
        self.assertEqual(self.ask("POST", "/chats/1/messages", {"text": "🐟" * 16_384}).status, 201)
        self.assertEqual(len(self.rows()[1]["text"]), 16_384)
        self.assert_problem(self.ask("POST", "/chats/1/messages", {"text": "x" * 16_385}), 400)

    def test_bad_parameters(self) -> None:
        """What is not as it must be is refused with 400 and what it must be."""
        for path in (
            "/chats?limit=0",
            "/chats?limit=101",
            "/chats?limit=x",
            "/chats?limit=",
            "/chats?limit=%FF",
            "/chats?limit=1&limit=2",
            "/chats?limit=" + "9" * 400,
            "/chats?limit=%D9%A1",
            "/chats?client_id=0",
            "/chats?after=x",
            "/chats?after=1",
            "/chats?after=1.",
            "/chats?after=.1",
            "/chats?after=1.2.3",
            "/chats?after=%C2%B2.1",
            "/messages",
            "/messages?chat_id=-1",
            "/messages?chat_id=1&before=-1",
            "/messages?chat_id=1&offset=1.5",
        ):
            self.assert_problem(self.ask("GET", path), 400)
        for fields in ({}, {"text": 3}, {"text": ""}, {"text": "a\x07"}, {"text": "x", "key": ""}):
            self.assert_problem(self.ask("POST", "/chats/1/messages", dict(fields)), 400)
        for upto in (None, "1", -1, 1.5, True, 2**53, float("1e300")):
            self.assert_problem(self.ask("POST", "/chats/1/read", {"upto": upto}), 400)
        for body in (b"", b"[]", b"{", b"\xff", b"[" * 9000, b'{"text":NaN}'):
            answer = self.ask("POST", "/chats/1/messages", body, "Content-Type: application/json")
            self.assert_problem(answer, 400)
        self.assert_problem(
            self.ask("POST", "/chats/1/messages", b'{"text":"x"}', "Content-Type: text/plain"), 415
        )

    def test_not_there(self) -> None:
        """R25: what is not there, or is no path of ours, is 404, and told as everything else."""
        for path in (
            "/chats/",
            "/chats/1",
            "/chats/x/read",
            "/chats/1/read/more",
            "/chats/1/unknown",
            "/messages/1?chat_id=1",
            "/messages?chat_id=9",
            "/media",
            "/media/",
            "/media/9",
            "/media/x",
            "/media/1/x",
            "/media/..%2f..%2fetc%2fpasswd",
            "/media/%00",
            "/openapi.json/x",
        ):
            self.assert_problem(self.ask("GET", path), 404)
            self.assertEqual(self.ask("HEAD", path).status, 404)
        self.assert_problem(self.ask("POST", "/chats/9/messages", {"text": "x"}), 404)
        self.assert_problem(self.post(b"x", chat=9), 404)
        self.assertEqual(self.parts(), [])


class HttpTests(ApiCase):
    """What HTTP asks of all of them."""

    def test_methods(self) -> None:
        """HEAD is GET without a body; another method is 405 with those that are taken; OPTIONS names them."""
        for path in API:
            got, headed = self.ask("GET", path), self.ask("HEAD", path)
            self.assertEqual((headed.status, headed.body), (200, b""))
            self.assertEqual(headed.headers["content-length"], got.headers["content-length"])
            for method in ("PUT", "DELETE", "PATCH", "POST", "BREW"):
                refused = self.ask(method, path)
                self.assert_problem(refused, 405)
                self.assertEqual(refused.headers["allow"], "GET, HEAD, OPTIONS")
            self.assertEqual(self.ask("OPTIONS", path).status, 204)
        for path in ("/chats/1/messages", "/chats/1/media", "/chats/1/read"):
            refused = self.ask("GET", path)
            self.assert_problem(refused, 405)
            self.assertEqual(refused.headers["allow"], "POST, OPTIONS")

    def test_origins(self) -> None:
        """R22: foreign pages get 403, and nothing is done; those of ``origins`` get what they need."""
        for origin in (
            "https://evil.example",
            "null",
            "http://127.0.0.1.evil.example",
            "http://127.0.0.1:81",
        ):
            for path in API:
                self.assert_problem(self.ask("GET", path, b"", f"Origin: {origin}"), 403)
            header = f"Origin: {origin}"
            self.assert_problem(self.ask("POST", "/chats/1/messages", {"text": "x"}, header), 403)
            self.assert_problem(self.ask("POST", "/chats/1/media?name=a&kind=file", b"x", header), 403)
        self.assertEqual(len(self.rows()), 1)
        self.service = self.start(origins=("https://shop.example",))
        mine = "Origin: https://shop.example"
        answer = self.ask("GET", "/chats", b"", mine)
        self.assertEqual(answer.headers["access-control-allow-origin"], "https://shop.example")
        self.assertIn("Origin", answer.headers["vary"])
        asked = self.ask("OPTIONS", "/chats/1/messages", b"", mine, "Access-Control-Request-Method: POST")
        self.assertEqual(asked.status, 204)
        self.assertEqual(asked.headers["access-control-allow-methods"], "POST")
        self.assertEqual(asked.headers["access-control-allow-headers"], "Authorization, Content-Type")
        self.assertEqual(self.ask("POST", "/chats/1/messages", {"text": "x"}, mine).status, 202)

    def test_rebinding(self) -> None:
        """R22: under a name that is not ours nothing is answered; addresses and localhost are ours."""
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil", "[::1", "a@b", ""):
            for path in API:
                self.assert_problem(self.ask("GET", path, b"", f"Host: {host}"), 421)
            refused = self.ask("POST", "/chats/1/media?name=a&kind=file", b"x", f"Host: {host}")
            self.assert_problem(refused, 421)
        for host in ("localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "192.168.1.5:80"):
            self.assertEqual(self.ask("GET", "/chats", b"", f"Host: {host}").status, 200)
        self.service = self.start(origins=("https://shop.example",))
        self.assertEqual(self.ask("GET", "/chats", b"", "Host: shop.example").status, 200)

    def test_gzip(self) -> None:
        """A long answer is compressed for who takes that, and for nobody else."""
        for accepted, is_compressed in (
            ("gzip", True),
            ("br, gzip;q=0.5", None),
            ("gzip;q=0", False),
            ("br", False),
        ):
            answer = self.ask("GET", "/openapi.json", b"", f"Accept-Encoding: {accepted}")
            if is_compressed is not None:
                self.assertEqual("content-encoding" in answer.headers, is_compressed, accepted)
            body = gzip.decompress(answer.body) if "content-encoding" in answer.headers else answer.body
            self.assertIn("paths", json.loads(body))
            self.assertIn("Accept-Encoding", answer.headers["vary"])
        self.assertNotIn("content-encoding", self.ask("GET", "/chats", b"", "Accept-Encoding: gzip").headers)

    def test_database_away(self) -> None:
        """R34: what cannot be done now says so, without saying why, and with when to try again."""
        for error, status in (
            (StorageError("/secret/path"), 503),
            (Overloaded("x"), 503),
            (StorageFull("/secret"), 507),
            (ValueError("secret"), 500),
        ):
            self.database.no_reads = self.database.no_writes = error
            answers = [self.ask("GET", path) for path in API[:3]]
            answers.append(self.ask("POST", "/chats/1/messages", {"text": "x"}))
            answers.append(self.post(b"abc"))
            for answer in answers:
                self.assert_problem(answer, status)
                self.assertNotIn("secret", answer.body.decode())
                self.assertEqual("retry-after" in answer.headers, status == 503)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 5)
        self.database.no_reads = self.database.no_writes = None
        self.assertEqual(self.ask("GET", "/chats").status, 200)
        self.assertEqual((self.parts(), len(self.rows())), ([], 1))


class DownloadTests(ApiCase):
    """The bytes of media."""

    def get(self, *headers: str) -> Answer:
        return self.ask("GET", "/media/1", b"", *headers)

    def test_ranges(self) -> None:
        """R28: one range, several, none that is there, and those that are not understood."""
        size = len(PNG)
        whole = self.get()
        self.assertEqual((whole.status, whole.body, whole.headers["accept-ranges"]), (200, PNG, "bytes"))
        for asked, first, last in (
            ("0-9", 0, 9),
            ("300-", 300, size - 1),
            ("-5", size - 5, size - 1),
            ("9-999", 9, size - 1),
        ):
            answer = self.get(f"Range: bytes={asked}")
            self.assertEqual((answer.status, answer.body), (206, PNG[first : last + 1]))
            self.assertEqual(answer.headers["content-range"], f"bytes {first}-{last}/{size}")
        nothing = self.get(f"Range: bytes={size}-")
        self.assert_problem(nothing, 416)
        self.assertEqual(nothing.headers["content-range"], f"bytes */{size}")
        self.assertEqual(nothing.headers["cache-control"], "no-store")
        self.assertNotIn("etag", nothing.headers)
        for asked in ("bytes=x", "lines=0-1", "bytes=5-1", "bytes=0-5,3-9"):
            self.assertEqual(self.get(f"Range: {asked}").status, 200)

    def test_several_ranges(self) -> None:
        """R28: several ranges come as ``multipart/byteranges``, of the length that was said."""
        answer = self.get("Range: bytes=0-3, 10-12, -2")
        self.assertEqual((answer.status, answer.headers["content-length"]), (206, str(len(answer.body))))
        kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
        self.assertEqual(kind, "multipart/byteranges")
        first, *parts, last = answer.body.split(b"\r\n--" + boundary.encode())
        self.assertEqual((first, last), (b"", b"--\r\n"))
        self.assertEqual([part.partition(b"\r\n\r\n")[2] for part in parts], [PNG[:4], PNG[10:13], PNG[-2:]])
        self.assertIn(f"Content-Range: bytes 10-12/{len(PNG)}".encode(), parts[1])
        self.assertIn(b"Content-Type: image/png", parts[1])

    def test_any_range(self) -> None:
        """R28: whatever is asked for, each byte of the answer is the one that it says it is."""
        data = Random(1).randbytes(3000)
        url = self.post(data).fields["url"]

        @settings(max_examples=100, deadline=None)
        @given(st.lists(RANGES, min_size=1, max_size=5))
        def check(parts: list[str]) -> None:
            answer = self.ask("GET", url, b"", f"Range: bytes={','.join(parts)}")
            if answer.status == 416:
                return
            found = {200: self.whole, 206: self.partial}[answer.status](answer)
            self.assertNotEqual(found, [])
            for first, piece in found:
                self.assertEqual(piece, data[first : first + len(piece)], parts)

        check()

    def whole(self, answer: Answer) -> list[tuple[int, bytes]]:
        """What an answer holds, each piece with its place."""
        self.assertEqual(answer.headers["content-length"], str(len(answer.body)))
        return [(0, answer.body)]

    def partial(self, answer: Answer) -> list[tuple[int, bytes]]:
        """The same for one of parts."""
        kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
        if kind != "multipart/byteranges":
            pieces = [(answer.headers["content-range"], answer.body)]
        else:
            heads = [
                part.partition(b"\r\n\r\n") for part in answer.body.split(f"\r\n--{boundary}".encode())[1:-1]
            ]
            pieces = [(head.partition(b"Content-Range: ")[2].decode(), data) for head, _, data in heads]
        places = [(re.fullmatch(r"bytes (\d+)-(\d+)/3000", where), piece) for where, piece in pieces]
        found = [(int(place[1]), int(place[2]), piece) for place, piece in places if place is not None]
        self.assertEqual([last - first + 1 for first, last, _ in found], [len(piece) for _, piece in pieces])
        return [(first, piece) for first, _, piece in found]

    def test_conditions(self) -> None:
        """What is there already is not sent again; a part of something else is not sent at all."""
        tag = self.get().headers["etag"]
        self.assertEqual(tag, f'"{digest(PNG)}"')
        same = self.get(f"If-None-Match: {tag}")
        self.assertEqual((same.status, same.body), (304, b""))
        self.assertEqual(self.get("Range: bytes=0-1", f"If-Range: {tag}").status, 206)
        self.assertEqual(self.get("Range: bytes=0-1", 'If-Range: "x"').status, 200)

    def test_never_run(self) -> None:
        """R26: whatever a file is or is called, it is served so that it cannot run in our origin."""
        script = b"<!doctype html><script>alert(1)</script>"
        svg = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
        jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01" + b"/*" + script + b"*/=1;"
        for data, kind, place in (
            (script, "application/octet-stream", "attachment"),
            (svg, "application/octet-stream", "attachment"),
            (b"%PDF-1.7 ", "application/octet-stream", "attachment"),
            (jpeg, "image/jpeg", "inline"),
        ):
            url = self.post(data, "name=x.html&kind=image").fields["url"]
            headers = self.ask("GET", url).headers
            self.assertEqual(
                (headers["content-type"], headers["content-disposition"].split(";")[0]), (kind, place)
            )
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["content-security-policy"], "default-src 'none'; sandbox")
            self.assertEqual(headers["cross-origin-resource-policy"], "same-origin")

    def test_file_gone(self) -> None:
        """A file that is not there is 404, with nothing of the headers that it would have had."""
        self.folder.path(digest(PNG)).unlink()
        for header in ("X: y", "Range: bytes=0-3"):
            answer = self.get(header)
            self.assert_problem(answer, 404)
            self.assertEqual({"etag", "content-disposition", "content-range"} & set(answer.headers), set())
            self.assertEqual(answer.headers["cache-control"], "no-store")

    def test_file_cut(self) -> None:
        """A file that is shorter than it was breaks the connection: no answer could say so."""
        self.folder.path(digest(PNG)).write_bytes(PNG[:100])
        answer = self.get()
        self.assertLess(len(answer.body), int(answer.headers["content-length"]))

    def test_gone_before_it_begins(self) -> None:
        """A client that is gone while its file is being opened leaves no file open."""
        opened: list[Any] = []
        real = self.folder.read

        def noted(name: str) -> Any:
            opened.append(real(name))
            return opened[-1]

        self.patch(self.folder, "read", noted)
        self.threads.by_hand()
        for header in ("X: y", "Range: bytes=0-3"):
            pipe = self.http()
            pipe.arrive(f"GET /media/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n".encode())
            while not self.threads.media.tasks:
                self.threads.read()
                self.threads.answer()
            pipe.lose(ConnectionError())
            self.settle()
        self.assertEqual([file.closed for file in opened], [True, True])

    def test_reader_that_stops(self) -> None:
        """R16: who takes nothing is cut off at `write_timeout`, and little waits for him."""
        url = self.post(bytes(3_000_000)).fields["url"]
        pipe = self.http()
        pipe.peer_reads = False
        pipe.arrive(f"GET {url} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        self.settle()
        self.assertLess(sum(map(len, pipe.pieces)), 200_000)
        self.clock.advance(self.config.write_timeout - 1)
        pipe.take_once()
        self.settle()
        self.clock.advance(self.config.write_timeout - 1)
        pipe.pump()
        self.assertFalse(pipe.lost)
        self.clock.advance(1)
        pipe.pump()
        self.assertTrue(pipe.lost)
        self.settle()


class PostingTests(ApiCase):
    """Files from the desk."""

    config = evolve(OPEN, max_unwritten=64 << 10, max_media=1 << 20, min_rate=10_000)

    def post_head(
        self, pipe: Pipe, length: int | None, query: str = "name=a&kind=file", *headers: str
    ) -> None:
        """Let the head of a request arrive."""
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        lines = [f"POST /chats/1/media?{query} HTTP/1.1", "Host: 127.0.0.1", size, *headers, "", ""]
        pipe.arrive("\r\n".join(lines).encode())
        self.settle()

    def test_streamed(self) -> None:
        """A body is written as it comes, and not read while the disk is behind."""
        self.threads.by_hand()
        pipe = self.http()
        self.post_head(pipe, 300_000)
        for number in range(3):
            self.assertTrue(pipe.reading)
            pipe.arrive(b"x" * 50_000)
            self.assertEqual(pipe.expected, 250_000 - 100_000 * number)
            pipe.arrive(b"y" * 50_000)
            self.assertEqual(pipe.reading, number == 2)  # then all has come
            self.settle()
            pipe.pump()
        self.assertEqual(pipe.expected, 0)
        (row,) = self.rows()[1:]
        self.assertEqual(Answer(bytes(pipe.sent)).fields, row)
        self.assertEqual(row["sha256"], digest((b"x" * 50_000 + b"y" * 50_000) * 3))
        self.assertEqual(self.parts(), [])

    def test_next_request(self) -> None:
        """The connection goes on behind a body, whole, cut anywhere or in chunks."""
        get = b"GET /chats HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        head = b"POST /chats/1/media?name=a&kind=file HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        counted = head + b"Content-Length: 5\r\n\r\nhello" + get
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n" + get
        for image in (counted, chunked):
            for cut in (0, 1, 60, len(image) - len(get) - 2, len(image) - len(get), len(image) - 3):
                pipe = self.http()
                pipe.arrive(image[:cut])
                pipe.arrive(image[cut:])
                self.settle()
                pipe.pump()
                sent = bytes(pipe.sent)
                self.assertEqual(
                    (sent.count(b" 201 "), sent.count(b" 200 "), pipe.lost or pipe.eof_sent), (1, 1, True)
                )
        self.assertEqual({row["sha256"] for row in self.rows()[1:]}, {digest(b"hello")})

    def test_refused_before_the_body(self) -> None:
        """What is wrong with a request is told before its body has come, and the connection ends."""
        for query, length, status in (
            ("", 9, 400),
            ("name=a", 9, 400),
            ("name=a&kind=text", 9, 400),
            ("name=&kind=file", 9, 400),
            ("name=a%00&kind=file", 9, 400),
            ("name=" + "x" * 256 + "&kind=file", 9, 400),
            ("name=a&kind=file&key=", 9, 400),
            ("name=a&kind=file&kind=file", 9, 400),
            ("name=%FF&kind=file", 9, 400),
            ("name=a&kind=file", (1 << 20) + 1, 413),
            ("name=a&kind=file", 10**30, 413),
        ):
            pipe = self.http()
            self.post_head(pipe, length, query, "Expect: 100-continue")
            pipe.pump()
            answer = Answer(bytes(pipe.sent))
            self.assert_problem(answer, status)
            self.assertEqual(answer.headers["connection"], "close")
            self.assertTrue(pipe.eof_sent, query)
        self.assertEqual(self.parts(), [])

    def test_foreign_before_the_body(self) -> None:
        """R22: a page of others is refused before its file has come, and nothing of it is kept."""
        for header, status in (("Origin: https://evil.example", 403), ("Host: evil.example", 421)):
            pipe = self.http()
            lines = ["POST /chats/1/media?name=a&kind=file HTTP/1.1", header, "Content-Length: 9"]
            if "Host" not in header:
                lines.append("Host: 127.0.0.1")
            pipe.arrive("\r\n".join([*lines, "", ""]).encode())
            self.settle()
            pipe.pump()
            self.assert_problem(Answer(bytes(pipe.sent)), status)
        self.assertEqual(self.parts(), [])

    def test_held_behind_an_answer(self) -> None:
        """A client that reads an earlier answer late does not make us read on while the disk is behind."""
        pipe = self.http()
        pipe.peer_reads = False
        get = "GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20
        self.threads.by_hand()
        pipe.arrive(get.encode())
        channel: Any = next(each for each in self.service.connections if each.transport is pipe)
        post = "POST /chats/1/media?name=a&kind=file HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        post += "Content-Length: 200000\r\n\r\n"
        channel.dataReceived(post.encode() + bytes(100_000))  # what had been read before
        self.assertTrue(channel.is_held)
        pipe.peer_reads = True
        pipe.pump()
        self.assertFalse(pipe.reading)
        self.settle()
        self.assertTrue(pipe.reading)

    def test_expect(self) -> None:
        """Who waits for leave to send the body gets it."""
        pipe = self.http()
        self.post_head(pipe, 3, "name=a&kind=file", "Expect: 100-continue")
        self.assertTrue(bytes(pipe.sent).startswith(b"HTTP/1.1 100 Continue\r\n\r\n"))
        pipe.arrive(b"abc")
        self.settle()
        pipe.pump()
        self.assertIn(b"HTTP/1.1 201 ", bytes(pipe.sent))

    def test_no_such_chat(self) -> None:
        """A chat that is not there is told while the body comes, and what comes then is dropped."""
        pipe = self.http()
        head = b"POST /chats/9/media?name=a&kind=file HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        pipe.arrive(head + b"Content-Length: 99999\r\n\r\n")
        pipe.arrive(b"x" * 1000)
        self.settle()
        pipe.arrive(b"x" * 1000)
        pipe.pump()
        self.assert_problem(Answer(bytes(pipe.sent)), 404)
        self.assertEqual((self.parts(), pipe.eof_sent), ([], True))

    def test_chunks_over_the_limit(self) -> None:
        """R14: a body of no known length is cut off at the limit."""
        pipe = self.http()
        self.post_head(pipe, None)
        for _ in range(40):
            pipe.arrive(b"8000\r\n" + bytes(0x8000) + b"\r\n")
            self.settle()
            pipe.pump()
        self.assert_problem(Answer(bytes(pipe.sent)), 413)
        self.assertEqual((self.parts(), len(self.rows())), ([], 1))
        bad = self.http()
        self.post_head(bad, None)
        bad.arrive(b"zz\r\n")
        self.settle()
        self.assertIn(b" 400 ", bytes(bad.sent))

    def test_endless_chunks(self) -> None:
        """R14: sizes of chunks, their extensions and what follows the last are bounded as well."""
        for before, endless in (
            (b"", b"f" * 60),
            (b"5;x=", b"y" * 60),
            (b"5\r\nhello\r\n0\r\n", b"X: " + b"y" * 600 + b"\r\n"),
        ):
            pipe = self.http()
            self.post_head(pipe, None)
            pipe.arrive(before)
            sent = 0
            while not pipe.eof_sent and not pipe.lost:
                pipe.arrive(endless)
                self.settle()
                pipe.pump()
                sent += len(endless)
                self.assertLess(sent, 200_000, before)
            pipe.lose(ConnectionError())
            self.settle()
            self.assertEqual((self.parts(), len(self.rows())), ([], 1))

    def test_compressed(self) -> None:
        """R14: a compressed body is refused, whatever it would become; nothing of it is kept."""
        files = self.files()
        bomb = gzip.compress(b'{"text":"' + b"x" * 10_000_000 + b'"}')
        for coding in ("gzip", "deflate", "br", "zstd", "identity, gzip", "x"):
            header = f"Content-Encoding: {coding}"
            said = self.ask("POST", "/chats/1/messages", bomb, "Content-Type: application/json", header)
            self.assert_problem(said, 415)
            self.assertEqual(said.headers["accept-encoding"], "identity")
            sent = self.ask("POST", "/chats/1/media?name=a&kind=file", bomb, header)
            self.assert_problem(sent, 415)
        self.assertEqual((self.parts(), self.files(), len(self.rows())), ([], files, 1))
        plain = self.ask("POST", "/chats/1/media?name=a&kind=file", b"x", "Content-Encoding: identity")
        self.assertEqual(plain.status, 201)

    def test_client_gone(self) -> None:
        """A client that goes away in the middle leaves nothing behind; so does a half-close."""
        for way in ("lose", "half"):
            pipe = self.http()
            self.post_head(pipe, 1000)
            pipe.arrive(b"x" * 500)
            self.settle()
            self.assertEqual(len(self.parts()), 1)
            if way == "lose":
                pipe.lose(ConnectionError())
            else:
                pipe.arrive(None)
            self.settle()
            self.assertEqual((self.parts(), len(self.service.uploads)), ([], 0))
        self.assertEqual(len(self.rows()), 1)

    def test_slow(self) -> None:
        """R18: a body that is slower than ``min_rate`` is cut off, however regularly it drips."""
        pipe = self.http()
        self.post_head(pipe, 500_000)
        seconds = 0
        while not pipe.eof_sent and seconds < 60:
            self.clock.advance(1)
            pipe.arrive(b"x" * 5000)
            self.settle()
            seconds += 1
        self.assertEqual(seconds, 19)  # 10, and half a second for each of the 18 that brought something
        self.clock.advance(self.config.close_timeout)
        pipe.pump()
        self.settle()
        self.assertEqual((pipe.lost, self.parts()), (True, []))

    def test_fast_enough(self) -> None:
        """A long body takes the time it takes at ``min_rate``; what the disk made it wait is not counted."""
        self.threads.by_hand()
        pipe = self.http()
        self.post_head(pipe, 500_000)
        for _ in range(49):
            self.clock.advance(1)
            pipe.arrive(b"x" * 10_000)
            self.settle()
            pipe.pump()
        pipe.arrive(b"x" * 9_999)
        self.assertFalse(pipe.eof_sent)
        held = self.http()
        self.post_head(held, 500_000)
        held.arrive(b"x" * 100_000)
        self.assertFalse(held.reading)
        self.clock.advance(1000)
        held.pump()
        self.assertFalse(held.eof_sent)
        self.settle()
        held.pump()
        self.assertTrue(held.reading)
        self.clock.advance(19)
        self.assertFalse(held._half_closing)
        self.clock.advance(2)
        self.assertTrue(held._half_closing)

    def test_disk_full(self) -> None:
        """R6: with no room it is 507 at once, also while the client is held, and then all works again."""
        self.no_room(errno.ENOSPC)

    def test_disk_quota(self) -> None:
        """R6: so it is where there is room, but not for who runs the suite."""
        self.no_room(errno.EDQUOT)

    def no_room(self, number: int) -> None:
        """A post, whose first write fails for that."""
        real = FilePart.write

        def full(*arguments: Any) -> None:
            raise OSError(number, "no room")

        self.threads.by_hand()
        self.patch(FilePart, "write", full)
        pipe = self.http()
        self.post_head(pipe, 500_000)
        pipe.arrive(b"x" * 100_000)
        self.settle()
        pipe.pump()
        self.assert_problem(Answer(bytes(pipe.sent)), 507)
        self.assertTrue(pipe.eof_sent)
        self.patch(FilePart, "write", real)
        self.assertEqual(self.post(b"x" * 1000).status, 201)
        self.assertEqual(self.parts(), [])

    def test_stop(self) -> None:
        """R31: a stop answers what has come, and ends what has not."""
        self.threads.by_hand()
        whole, half = self.http(), self.http()
        self.post_head(whole, 3)
        self.post_head(half, 3)
        whole.arrive(b"abc")
        half.arrive(b"ab")
        for connection in list(self.service.connections):
            connection.shut_down()
        self.settle()
        whole.pump()
        half.pump()
        self.assertIn(b" 201 ", bytes(whole.sent))
        self.assertEqual((bytes(half.sent), half.eof_sent), (b"", True))

    def test_other_spellings(self) -> None:
        """A path that is spelt in another way means the same."""
        answer = self.ask("POST", "/chats/%31/medi%61?name=a&kind=file", b"x" * 10)
        self.assertEqual(answer.status, 201)
        self.assert_problem(self.ask("POST", "/chats/1%2Fmedia?name=a&kind=file", b"x" * 10), 404)

    def test_paths_that_are_none(self) -> None:
        """R25: a path with too many slashes leads nowhere, one without any where it seems to."""
        for path in ("//chats/1/media", "/chats//1/media", "/chats/1/media/", "///chats/1/media"):
            self.assertEqual(self.ask("POST", f"{path}?name=a&kind=file", b"x").status, 404, path)
        self.assertEqual(self.ask("POST", "xchats/1/media?name=a&kind=file", b"x").status, 201)
        for path in ("//", "//openapi.json", "//assets/base.css"):
            self.assertEqual(self.ask("GET", path).status, 404, path)
