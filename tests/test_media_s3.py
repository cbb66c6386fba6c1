"""Media in S3: what holds of every place that nodes share, and what S3 does when it does not work."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from protosuite.errors import Overloaded, StartError
from protosuite.figures import Histogram
from protosuite.mediachat.media import asking, bucket, s3
from protosuite.mediachat.media.address import parse, problem
from protosuite.mediachat.media.asking import Asking, NotThere
from protosuite.mediachat.media.interface import MediaStore, MediaUnavailable, WrongHash
from protosuite.mediachat.media.s3 import S3Store
from protosuite.test.media_contract import DATA, PART, MediaContract, digest
from tests.processes import LIMIT, free_port
from tests.s3 import ENVIRONMENT, Server, shared

GIB = 1 << 30


class S3Case(MediaContract):
    """Two nodes with one bucket."""

    kind = ""

    def setUp(self: Any) -> None:
        self.patch(os, "environ", {**os.environ, **ENVIRONMENT})
        self.server: Server = shared(self.kind)
        self.bucket = self.server.bucket()
        super().setUp()

    def node(self: Any) -> MediaStore:
        store = S3Store(parse(self.server.url(self.bucket)), LIMIT, 4, PART, GIB, Path(self.mktemp()))
        store.open()
        return store

    def keys(self: Any) -> list[str]:
        """The keys of all objects and of all uploads that are not complete."""
        client = self.server.client()
        objects = client.list_objects_v2(Bucket=self.bucket).get("Contents", ())
        uploads = client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())
        return sorted(each["Key"] for each in (*objects, *uploads))

    def test_nothing_is_left(self: Any) -> None:
        """R1: of an upload nothing stays but its file; of one that is wrong, or is given up, nothing."""
        name = self.store(DATA, upload="u")
        self.begin(self.one, DATA).close(keep=False)
        given_up = self.begin(self.one, DATA, upload="v")
        given_up.write([DATA])
        given_up.close(keep=False)
        wrong = self.begin(self.one, DATA, upload="w", sha256=digest(b"else"))
        wrong.write([DATA])
        with self.assertRaises(WrongHash):
            wrong.finish()
        self.assertEqual(self.keys(), [f"some/where/media/{name[:2]}/{name[2:]}"])

    def test_old_upload_that_grows(self: Any) -> None:
        """An upload that was begun long ago stays while something of it comes."""
        part = self.begin(self.one, DATA, upload="u")
        part.write([DATA[: PART + 1]])
        bucket, some = part._bucket, DATA[:PART]
        [begun] = bucket.uploads(part.key)
        while (at := bucket.sent(part.key, begun.upload)[0].at) < begun.at + 1:  # S3 tells whole seconds
            bucket.send(part.key, begun.upload, 1, BytesIO(some), md5(some, usedforsecurity=False).digest())
        self.two.old_parts(at, [])
        self.assertEqual(self.begin(self.two, DATA, upload="u").offset, PART)
        self.two.old_parts(at + 1, [])
        self.assertEqual(self.begin(self.two, DATA, upload="u").offset, 0)

    def test_killed_before_the_copy(self: Any) -> None:
        """An upload of which S3 has made one object, and whose node was killed then, goes on from there."""
        part = self.begin(self.one, DATA, upload="u")
        part.write([DATA])
        part._send()
        part._complete()
        again = self.begin(self.two, DATA, upload="u")
        self.assertEqual(again.offset, len(DATA))
        self.assertEqual(again.finish().sha256, digest(DATA))
        self.assertEqual(len(self.keys()), 1)

    def test_lost_answer(self: Any) -> None:
        """R3: S3 has made one object of an upload, and its answer was lost: that is no failure."""
        part = self.begin(self.one, DATA, upload="u")
        part.write([DATA])
        part._send()
        part._bucket.complete(part.key, part._upload, part._etags)
        part._held = 0
        self.assertEqual(part.finish().sha256, digest(DATA))

    def test_many_readers(self: Any) -> None:
        """R16: what readers hold is bounded: of too many at once the last are refused until one is done."""
        self.patch(s3, "_MOST_READINGS", 2)
        name = self.store(b"abc")
        one, two = self.one.read(name), self.one.read(name)
        with self.assertRaises(Overloaded):
            self.one.read(name)
        for _ in range(2):
            one.close()
        with self.assertRaises(FileNotFoundError):
            self.one.read("0" * 64)
        self.one.read(name).close()
        two.close()

    def test_many_keys(self: Any) -> None:
        """What S3 tells in several answers is put together."""
        self.patch(bucket, "_PAGE", 2)
        names = sorted(self.store(bytes([number])) for number in range(5))
        self.assertEqual(self.all(self.two), names)
        self.assertEqual(self.two.prefixes(), sorted({name[:2] for name in names}))


class MotoTests(S3Case, SynchronousTestCase):
    """With moto."""

    kind = "moto"

    def test_copied_in_parts(self) -> None:
        """What is too large for one copy is copied in parts."""
        self.patch(bucket, "_COPIED", PART)
        name = self.store(DATA)
        self.assertEqual(self.bytes_of(self.two, name), DATA)

    def test_copy_that_fails(self) -> None:
        """A copy in parts that fails leaves no upload behind; one whose node was killed is swept."""
        complete = bucket.Bucket.complete

        def fails(self: Any, key: str, upload: str, etags: Any) -> None:
            if key.startswith("media/"):
                raise MediaUnavailable("S3 does not answer")
            complete(self, key, upload, etags)

        self.patch(bucket, "_COPIED", PART)
        self.patch(bucket.Bucket, "complete", fails)
        store: Any = self.one
        part: Any = self.begin(store, DATA, upload="u")
        part.write([DATA])
        with self.assertRaises(MediaUnavailable):
            part.finish()
        self.assertEqual(self.keys(), [f"some/where/{part.key}"])
        for key in ("media/ab/cd", "aside/abcd"):
            store._bucket.begin(key)
        self.assertEqual(len(self.keys()), 3)
        self.two.old_parts(time.time() + 3600, [part])
        self.assertEqual(self.keys(), [f"some/where/{part.key}"])


class NanioTests(S3Case, SynchronousTestCase):
    """With nanio."""

    kind = "nanio"

    def test_server_that_cannot_copy_parts(self) -> None:
        """R28: a server that says it copied and did not, as this one does with parts, is not believed."""
        self.patch(bucket, "_COPIED", PART)
        with self.assertRaises(MediaUnavailable) as caught:
            self.store(DATA)
        self.assertIn("does not copy parts", str(caught.exception))


class Scripted(BaseHTTPRequestHandler):
    """Answers with what it is told to: a status and S3's code for it, or nothing at all for `HANG`."""

    answers: ClassVar[list[tuple[int, str]]] = []
    released: ClassVar = threading.Event()

    def do_HEAD(self) -> None:
        status, code = self.answers.pop(0) if self.answers else OK
        if (status, code) == HANG:
            self.released.wait(LIMIT)
            return
        body = f"<Error><Code>{code}</Code><Message>secret words</Message></Error>".encode()
        body = b"" if status == 200 or self.command == "HEAD" else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD

    def log_message(self, format: str, *arguments: Any) -> None:
        """Not here."""


OK, HANG = (200, ""), (0, "hang")
FAILED, BUSY = (500, "InternalError"), (503, "SlowDown")


class AskingTests(SynchronousTestCase):
    """One call, whatever becomes of it."""

    def setUp(self) -> None:
        self.patch(os, "environ", {**os.environ, **ENVIRONMENT})
        self.patch(asking, "_DELAY", 0)
        self.patch(Scripted, "answers", [])
        self.patch(Scripted, "released", threading.Event())
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.addCleanup(Scripted.released.set)
        self.now = 1000.0
        self.asking = self.make(f"http://127.0.0.1:{self.server.server_port}")

    def make(self, endpoint: str) -> Asking:
        asking = Asking(parse(f"s3://bucket?endpoint={endpoint}"), 1.0, 4, lambda: self.now)
        asking.open()
        return asking

    def ask(self, *answers: tuple[int, str], operation: str = "get_object") -> None:
        """Ask when these are the answers to come; all of them are asked for."""
        Scripted.answers[:] = answers
        self.asking.ask(operation, Key="key")
        self.assertEqual(Scripted.answers, [])

    def refused(self, *answers: tuple[int, str]) -> str:
        """What is said when it cannot be done."""
        with self.assertRaises(MediaUnavailable) as caught:
            self.ask(*answers)
        self.assertEqual(Scripted.answers, [])
        self.assertNotIn("secret", str(caught.exception))
        return str(caught.exception)

    def figures(self) -> dict[str, float]:
        """All of them."""
        found: dict[str, float] = {}
        for figure in self.asking.figures():
            for labels, value in figure.samples:
                assert not isinstance(value, Histogram)
                found[" ".join((figure.name.removeprefix("mediachat_s3_"), *labels))] = value
        return found

    def test_failures_that_pass(self) -> None:
        """What fails for a moment is asked again, and counted."""
        self.ask(FAILED, BUSY, OK)
        self.ask(OK)
        found = self.figures()
        self.assertEqual((found["requests_total"], found["errors_total failed"]), (4, 2))

    def test_failures_that_stay(self) -> None:
        """After the third failure it is said that it cannot be done; the next one asks again."""
        self.assertEqual(self.refused(FAILED, FAILED, FAILED), "S3 refuses get_object: InternalError")
        self.assertEqual(self.figures()["reachable"], 1)
        self.ask(OK)

    def test_refusals(self) -> None:
        """What S3 refuses is not asked again; its words are told nobody, its code is."""
        self.assertEqual(self.refused((403, "AccessDenied")), "S3 refuses get_object: AccessDenied")
        self.assertEqual(self.figures()["errors_total refused"], 1)

    def test_not_there(self) -> None:
        """What is not there is no failure."""
        for code in ("NoSuchKey", "NoSuchUpload"):
            with self.assertRaises(NotThere):
                self.ask((404, code))
        with self.assertRaises(NotThere):
            self.ask((404, ""), operation="head_object")
        self.assertEqual(self.figures()["errors_total refused"], 0)
        self.refused((404, "NoSuchBucket"))

    def test_late(self) -> None:
        """Who does not answer in time is asked three times, and then nobody waits for that again."""
        self.assertIn("ReadTimeoutError", self.refused(HANG, HANG, HANG))
        found = self.figures()
        self.assertEqual((found["errors_total timeout"], found["reachable"]), (3, 0))
        self.assertIn("ReadTimeoutError", self.refused())
        self.assertEqual(self.figures()["requests_total"], 3)

    def test_one_looks(self) -> None:
        """After a pause one call looks whether the server is back, and then all go on."""
        self.refused(HANG, HANG, HANG)
        self.now += 3
        self.asking._enter()  # somebody is looking
        self.refused()
        self.now += 3
        self.ask(OK)
        self.ask(OK)
        self.assertEqual(self.figures()["reachable"], 1)

    def test_nobody_there(self) -> None:
        """A port that nobody listens on is no different."""
        self.asking = self.make(f"http://127.0.0.1:{free_port()}")
        self.assertIn("EndpointConnectionError", self.refused())
        self.assertEqual(self.figures()["errors_total unreachable"], 3)

    def test_no_credentials(self) -> None:
        """Where AWS's places have no credentials it is said."""
        self.patch(os, "environ", {k: v for k, v in os.environ.items() if "AWS_" not in k or "_DIS" in k})
        self.patch(os, "environ", {**os.environ, "HOME": self.mktemp()})
        self.asking = self.make("http://127.0.0.1:1")
        self.assertIn("NoCredentialsError", self.refused())

    def test_stop(self) -> None:
        """When the node stops nobody is asked any more."""
        self.asking.stop()
        self.assertEqual(self.refused(), "the node stops")
        self.assertEqual(self.figures()["requests_total"], 0)

    def test_files_of_aws(self) -> None:
        """A profile that there is not ends the start, in one line."""
        self.patch(os, "environ", {**os.environ, "AWS_PROFILE": "nobody"})
        with self.assertRaises(StartError) as caught:
            self.make("http://127.0.0.1:1")
        self.assertIn("ProfileNotFound", str(caught.exception))

    def test_not_installed(self) -> None:
        """Without boto3 a start, and ``--check``, say what to install."""
        self.patch(sys, "modules", {**sys.modules, "boto3": None})
        with self.assertRaises(StartError) as caught:
            self.make("http://127.0.0.1:1")
        self.assertIn("pip install 'protosuite[s3]'", str(caught.exception))
        self.patch(importlib.util, "find_spec", lambda name: None)
        self.assertIn("pip install 'protosuite[s3]'", problem("s3://bucket") or "")
