"""Servers that speak S3, as processes: moto, which does all of it, and nanio, which asks who is there."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tests.postgresql import _die_with_parent as die_with_parent
from tests.processes import LIMIT, free_port
from tests.requirements import missing

KEY, SECRET = "TESTKEY0123456789", "test-secret-that-no-log-may-have"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
_TIED: dict[str, Any] = {"preexec_fn": die_with_parent}
_COMMANDS = {
    "moto": ("-m", "moto.server", "-H", "127.0.0.1", "-p"),
    "nanio": ("-m", "nanio", "serve", "--no-access-log", "--host", "127.0.0.1", "--port"),
}


class Server:
    """A server of a kind, ``moto`` or ``nanio``, on a port of 127.0.0.1. It ends with this process."""

    def __init__(self, kind: str) -> None:
        for name in (kind, "boto3"):
            if importlib.util.find_spec(name) is None:
                missing(f"there is no {name} here: pip install 'protosuite[test]'")
        self.folder = Path(tempfile.mkdtemp(prefix=f"protosuite-{kind}-"))
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._kind = kind
        self._names = itertools.count()
        self._client: Any = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers. Blocks."""
        own = {"NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET, "NANIO_DATA_DIR": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *_COMMANDS[self._kind], str(self.port)],
                cwd=self.folder,
                env={**os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **_TIED,
            )
        deadline = time.monotonic() + LIMIT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"it did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, if it runs. Blocks."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(LIMIT)

    def discard(self) -> None:
        """End it, and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def signal(self, name: str) -> None:
        """Send it a signal, such as STOP."""
        assert self._process is not None
        self._process.send_signal(getattr(signal, f"SIG{name}"))

    def client(self) -> Any:
        """A client that may do everything."""
        if self._client is None:
            import boto3

            self._client = boto3.client(
                "s3",
                endpoint_url=self.endpoint,
                region_name="us-east-1",
                aws_access_key_id=KEY,
                aws_secret_access_key=SECRET,
            )
        return self._client

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"bucket-{next(self._names)}"
        self.client().create_bucket(Bucket=name)
        return name

    def url(self, bucket: str, prefix: str = "some/where") -> str:
        """As ``[mediachat] media`` has it."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}"

    def _answers(self) -> bool:
        try:
            urlopen(self.endpoint, timeout=1).close()
        except HTTPError:
            return True
        except (URLError, OSError):
            return False
        return True


_shared: dict[str, Server] = {}


def shared(kind: str) -> Server:
    """The server of a kind that all tests of this process share; they leave it running."""
    if kind not in _shared:
        server = Server(kind)
        server.start()
        atexit.register(server.discard)
        _shared[kind] = server
    return _shared[kind]
