"""One call to S3 that ends: with an answer, or with one of two errors, in bounded time.

boto3 is imported when this is opened. What it raises is told by its kind and by S3's own code, never by its
text, which may hold names of keys and addresses. Each attempt that fails is counted.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from twisted.logger import Logger

from protosuite.errors import StartError
from protosuite.figures import Figure, Kind, counter, gauge, split
from protosuite.mediachat.media.address import Address
from protosuite.mediachat.media.interface import MediaUnavailable

log = Logger(namespace="protosuite.mediachat")

_ATTEMPTS = 3
_DELAY = 0.2  # seconds before the second attempt, and twice as many before the third
_PAUSE = 2.0  # seconds for which nobody asks a server that does not answer
_NO_REGION = "us-east-1"  # what servers that have no regions take

_NOT_THERE = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
_BUSY = {"RequestTimeout", "SlowDown", "TooManyRequests"}  # as good as a failure of its own

Read = Callable[[Any], Any]  # what is wanted of an answer, whose body may be still to come


class NotThere(Exception):
    """There is no such object, or no such upload."""


class Asking:
    """Calls to S3, for any thread, `connections` of which may be at it. `clock` gives seconds.

    An attempt may take `timeout` seconds to connect, and as long without a byte. When none of three was
    answered, others do not wait for that as well: for `_PAUSE` seconds every call fails at once, and then one
    call at a time looks whether the server is back.
    """

    def __init__(
        self, address: Address, timeout: float, connections: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address
        self._timeout = timeout
        self._connections = connections
        self._clock = clock
        self._client: Any = None
        self._exceptions: Any = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # of what follows
        self._away = ""  # why the last call was not answered
        self._not_before = 0.0  # when somebody may look whether that is still so
        self._requests = 0
        self._errors = dict.fromkeys(("refused", "failed", "timeout", "unreachable"), 0)

    def open(self) -> None:
        """Import what it takes. Asks nobody. Raises :exc:`StartError`."""
        try:
            boto3: Any = importlib.import_module("boto3")
            config: Any = importlib.import_module("botocore.config")
            self._exceptions = importlib.import_module("botocore.exceptions")
        except ImportError:
            raise StartError("[mediachat] media: S3 needs pip install 'protosuite[s3]'") from None
        address = self._address
        try:
            session = boto3.session.Session(region_name=address.region)
            region = session.region_name or (None if address.endpoint is None else _NO_REGION)
            self._client = session.client(
                "s3",
                endpoint_url=address.endpoint,
                region_name=region,
                config=config.Config(**self._options()),
            )
        except (self._exceptions.BotoCoreError, ValueError) as error:  # such as of files in ~/.aws
            raise StartError(f"[mediachat] media: S3 cannot be used: {type(error).__name__}") from None

    def _options(self) -> dict[str, Any]:
        style = self._address.style or ("auto" if self._address.endpoint is None else "path")
        return {
            "connect_timeout": self._timeout,
            "read_timeout": self._timeout,
            "retries": {"total_max_attempts": 1, "mode": "standard"},  # `ask` does it
            "max_pool_connections": self._connections,
            "tcp_keepalive": True,
            "signature_version": "s3v4",
            "s3": {"addressing_style": style},
            # Not every server knows the newer sums. Content-MD5, which we give, all of them do.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }

    def stop(self) -> None:
        """Calls fail from now on; those under way are not tried again. Does not block."""
        self._stopped.set()

    def figures(self) -> Iterator[Figure]:
        """How it answers."""
        yield counter("mediachat_s3_requests_total", "Attempts to have S3 do something.", self._requests)
        doc = "Attempts that failed: S3 refused, failed itself, was late, or could not be reached."
        yield split(Kind.COUNTER, "mediachat_s3_errors_total", doc, "reason", dict(self._errors))
        yield gauge("mediachat_s3_reachable", "1 if S3 answered when it was asked last.", not self._away)

    def ask(self, operation: str, read: Read | None = None, **fields: Any) -> Any:
        """The answer, or what `read` makes of it. Whatever is asked may be carried out more than once.

        Raises :exc:`NotThere`, and :exc:`MediaUnavailable` when S3 cannot be reached, refuses, or fails.
        """
        self._enter()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = self._once(operation, read, fields)
            except self._exceptions.ClientError as error:
                self._answered()
                if not self._is_failure(operation, error) or not self._may_try(attempt):
                    code = error.response.get("Error", {}).get("Code", "")
                    raise MediaUnavailable(f"S3 refuses {operation}: {code}") from None
            except (self._exceptions.BotoCoreError, self._exceptions.HTTPClientError, OSError) as error:
                reason = self._count_missing(error)
                if not self._may_try(attempt):
                    self._lost(reason)
                    raise MediaUnavailable(f"S3 does not answer: {reason}") from None
            else:
                self._answered()
                return answer
        raise AssertionError

    def _once(self, operation: str, read: Read | None, fields: dict[str, Any]) -> Any:
        with self._lock:
            self._requests += 1
        body: BinaryIO | None = fields.get("Body")
        if body is not None:
            body.seek(0)
        answer = getattr(self._client, operation)(Bucket=self._address.bucket, **fields)
        return answer if read is None else read(answer)

    def _is_failure(self, operation: str, error: Any) -> bool:
        """Whether S3 failed, which may be over soon, or refused. Raises :exc:`NotThere`."""
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _NOT_THERE:
            raise NotThere(f"{operation}: {code}") from None
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        is_failure = status >= 500 or code in _BUSY
        with self._lock:
            self._errors["failed" if is_failure else "refused"] += 1
        return is_failure

    def _count_missing(self, error: Exception) -> str:
        """Why there is no answer, without a word of what the error says."""
        late = (
            self._exceptions.ConnectTimeoutError,
            self._exceptions.ReadTimeoutError,
            TimeoutError,
        )
        with self._lock:
            self._errors["timeout" if isinstance(error, late) else "unreachable"] += 1
        return type(error).__name__

    def _may_try(self, attempt: int) -> bool:
        """Whether it is tried again, now. Waits before that."""
        return attempt < _ATTEMPTS and not self._stopped.wait(_DELAY * attempt)

    def _enter(self) -> None:
        """Begin a call. Raises :exc:`MediaUnavailable` while it is known that nobody answers."""
        if self._stopped.is_set():
            raise MediaUnavailable("the node stops")
        with self._lock:
            if not self._away:
                return
            now = self._clock()
            if now < self._not_before:
                raise MediaUnavailable(f"S3 does not answer: {self._away}")
            self._not_before = now + self._timeout + _PAUSE  # this call looks, the others go on as before

    def _answered(self) -> None:
        with self._lock:
            was_away, self._away = self._away, ""
        if was_away:
            log.info("S3 answers again")

    def _lost(self, reason: str) -> None:
        with self._lock:
            was_away, self._away = self._away, reason
            self._not_before = self._clock() + _PAUSE
        if not was_away:
            log.error("{address} does not answer: {reason}", address=str(self._address), reason=reason)
