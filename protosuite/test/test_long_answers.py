"""Long answers over HTTP: made in threads, while the reactor goes on."""

from __future__ import annotations

import gzip
import json
from threading import Event
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protosuite.admin.server import AdminService
from protosuite.config import Config, SuiteConfig
from protosuite.suite import Suite
from protosuite.test.admin_peers import Overview
from protosuite.test.mediachat_peers import Answer, Fixture
from protosuite.test.test_suite import Reactor
from protosuite.test.web_peers import Pipe

LONG = "/messages?chat_id=1&limit=100"
GZIP = b"Accept-Encoding: gzip\r\n"


class PageTests(Fixture):
    """A page of long texts, step by step: it is read, then made, and each comes back to the reactor."""

    def setUp(self) -> None:
        super().setUp()
        self.client(7)
        for letter in "aé🐟":
            self.tell(letter * 16_384)
        self.threads.by_hand()

    def read_page(self, path: str = LONG, method: bytes = b"GET") -> Pipe:
        """A connection on which a page has been asked for, and read from the database."""
        pipe = self.http()
        pipe.arrive(b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n" % (method, path.encode(), GZIP))
        self.step()
        return pipe

    def step(self) -> None:
        """The reader's thread does one thing, and the reactor gets what came of it."""
        self.threads.read()
        self.threads.answer()
        self.assertFalse(self.threads.answers)

    def answer(self, pipe: Pipe) -> Answer:
        pipe.pump()
        return Answer(bytes(pipe.sent))

    def test_made_in_a_thread(self) -> None:
        """The reactor has nothing to send before a thread has encoded and compressed the page."""
        pipe = self.read_page()
        self.assertEqual((bytes(pipe.sent), len(self.threads.reader.tasks)), (b"", 1))
        self.step()
        found = self.answer(pipe)
        self.assertEqual((found.status, found.headers["content-encoding"]), (200, "gzip"))
        self.assertEqual(found.headers["vary"], "Origin, Accept-Encoding")
        self.assertEqual(int(found.headers["content-length"]), len(found.body))
        body = gzip.decompress(found.body)
        texts = [item["text"] for item in json.loads(body)["items"]]
        self.assertEqual(texts, [letter * 16_384 for letter in "aé🐟"])
        plain = self.ask("GET", LONG)
        self.assertEqual((plain.body, "content-encoding" in plain.headers), (body, False))
        compact = json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False)
        self.assertEqual(body.decode(), compact)

    def test_head(self) -> None:
        """HEAD has the headers of GET, and no body."""
        found = []
        for method in (b"GET", b"HEAD"):
            pipe = self.read_page(method=method)
            self.step()
            found.append(self.answer(pipe))
            del found[-1].headers["date"]
        got, headed = found
        self.assertEqual((got.headers, headed.body), (headed.headers, b""))

    def test_short(self) -> None:
        """What takes no time is sent as soon as it has been read."""
        pipe = self.read_page("/messages?chat_id=1&limit=1&after=99")
        self.assertEqual(self.answer(pipe).fields, {"items": []})

    def test_gone(self) -> None:
        """A client that goes while its page is made, or read, is no error; none is made for one that went."""
        pipe = self.read_page()
        pipe.lose(ConnectionError())
        self.step()
        self.assertEqual(bytes(pipe.sent), b"")
        pipe = self.http()
        pipe.arrive(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % LONG.encode())
        pipe.lose(ConnectionError())
        self.step()
        self.assertEqual(self.threads.reader.tasks, [])

    def test_stop(self) -> None:
        """R31: a stop waits for a page that is being made."""
        pipe = self.read_page()
        for connection in list(self.service.connections):
            connection.shut_down()
        pipe.pump()
        self.assertEqual((bytes(pipe.sent), pipe.eof_sent), (b"", False))
        self.step()
        found = self.answer(pipe)
        self.assertEqual((found.status, len(found.body)), (200, int(found.headers["content-length"])))
        self.assertTrue(pipe.eof_sent)

    def test_too_many(self) -> None:
        """A page for which the threads' queue has no room is refused with 503, as one that cannot be read."""
        pipe = self.http()
        pipe.arrive(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n" % (LONG.encode(), GZIP))
        self.threads.read()
        self.database.max_queue = 0
        self.threads.answer()
        found = self.answer(pipe)
        self.assertEqual((found.status, found.headers["content-type"]), (503, "application/problem+json"))
        self.assertNotIn("content-encoding", found.headers)
        self.assertEqual(found.fields["status"], 503)


class ChartsTests(SynchronousTestCase):
    """The charts of the dashboard."""

    def setUp(self) -> None:
        self.suite = Overview(self)
        self.suite.advance(30)
        self.count = self.live()["count"]
        self.suite.aside.at_once = False

    def live(self, query: str = "") -> Any:
        return self.suite.get(f"/live{query}").fields

    def test_made_in_a_thread(self) -> None:
        """All that there is to draw is made in a thread, and what is new of it at once."""
        pipe = self.suite.connect(self.suite.admin)
        pipe.arrive(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self.assertEqual((bytes(pipe.sent), len(self.suite.aside.tasks)), (b"", 1))
        self.suite.advance(2)
        started = self.suite.admin.started_at
        new = self.live(f"?started={started}&after={self.count}")
        self.assertEqual((new["is_whole"], len(new["fine"]["counter.rate"])), (False, 2))
        self.suite.aside.run()
        pipe.pump()
        whole = Answer(bytes(pipe.sent)).fields
        self.assertEqual((whole["is_whole"], whole["count"]), (True, self.count))
        self.assertEqual(len(whole["fine"]["counter.rate"]), self.count)  # and none of those that came since

    def test_a_disk_that_hangs(self) -> None:
        """A thread that asks a disk, and gets no answer, leaves one in which the charts are made."""
        suite = Suite(Config(suite=SuiteConfig(data=self.mktemp(), services=("admin",))), Reactor())
        suite.privilegedStartService()
        suite.startService()
        self.addCleanup(suite.stopService)
        [admin] = suite.services
        assert isinstance(admin, AdminService)
        hangs, made = Event(), Event()
        self.addCleanup(hangs.set)
        admin.suite.calls.run(hangs.wait)
        admin.suite.calls.run(made.set)
        self.assertTrue(made.wait(60))  # it takes no time, unless it would never come
