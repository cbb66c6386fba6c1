"""Media in S3: what holds of every place that nodes share, and what S3 does when it does not work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protosuite.mediachat.media_address import parse
from protosuite.mediachat.media_interface import MediaStore
from protosuite.mediachat.media_s3 import S3Store
from protosuite.test.media_contract import PART, MediaContract
from tests.processes import LIMIT
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


class MotoTests(S3Case, SynchronousTestCase):
    """With moto."""

    kind = "moto"


class NanioTests(S3Case, SynchronousTestCase):
    """With nanio."""

    kind = "nanio"
