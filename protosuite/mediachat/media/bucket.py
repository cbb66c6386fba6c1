"""What is asked of S3: objects, and uploads in parts. Keys are ours, without the prefix of the setting."""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from attrs import frozen

from protosuite.mediachat.media.address import Address
from protosuite.mediachat.media.asking import Asking, NotThere
from protosuite.mediachat.media.interface import MediaUnavailable

_COPIED = 1 << 30  # bytes that are copied by one request; S3 takes five times that, and has to answer in time
_PAGE = 1000  # keys in one answer


@frozen
class Object:
    """What a listing says of an object, or of an upload in parts: then `upload` is its id."""

    key: str
    at: float  # when it was stored or begun, in seconds since the epoch
    upload: str = ""


@frozen
class Sent:
    """A part of an upload that is there."""

    number: int
    size: int
    etag: str
    at: float  # as above


class Bucket:
    """The objects below a prefix. Everything may raise :exc:`.MediaUnavailable`."""

    def __init__(self, address: Address, asking: Asking) -> None:
        self._name = address.bucket
        self._prefix = address.prefix
        self._ask = asking.ask

    # Objects.

    def put(self, key: str, body: BinaryIO, md5: bytes) -> None:
        """Store the whole of a file. The object is there whole or not at all."""
        self._ask("put_object", Key=self._key(key), Body=body, ContentMD5=b64encode(md5).decode())

    def size(self, key: str) -> int:
        """The bytes of an object. Raises :exc:`.NotThere`."""
        return int(self._ask("head_object", Key=self._key(key))["ContentLength"])

    def get(self, key: str, first: int, last: int) -> bytes:
        """Bytes of an object, `last` among them. Raises :exc:`.NotThere`."""
        span = f"bytes={first}-{last}"
        data: bytes = self._ask("get_object", _body, Key=self._key(key), Range=span)
        if len(data) != last - first + 1:
            raise MediaUnavailable("S3 gave another number of bytes than was asked for")
        return data

    def copy(self, source: str, target: str, size: int) -> None:
        """Make another object of the same bytes, whole or not at all. Raises :exc:`.NotThere`."""
        origin = {"Bucket": self._name, "Key": self._key(source)}
        if size <= _COPIED:
            self._ask("copy_object", Key=self._key(target), CopySource=origin)
        else:
            self._copy_parts(origin, target, size)
        if (found := self.size(target)) != size:
            raise MediaUnavailable(f"S3 made {found} bytes of {size} when it copied them")

    def _copy_parts(self, origin: dict[str, str], target: str, size: int) -> None:
        upload = self.begin(target)
        try:
            etags = [
                self._copy_part(origin, target, upload, number, first, min(first + _COPIED, size) - 1)
                for number, first in enumerate(range(0, size, _COPIED), 1)
            ]
            self.complete(target, upload, etags)
        except BaseException:  # nobody goes on with it, and what it has so far would be paid for
            with contextlib.suppress(NotThere, MediaUnavailable):
                self.abort(target, upload)
            raise

    def _copy_part(
        self, origin: dict[str, str], target: str, upload: str, number: int, first: int, last: int
    ) -> str:
        answer = self._ask(
            "upload_part_copy",
            Key=self._key(target),
            UploadId=upload,
            PartNumber=number,
            CopySource=origin,
            CopySourceRange=f"bytes={first}-{last}",
        )
        if (etag := answer.get("CopyPartResult", {}).get("ETag")) is None:
            raise MediaUnavailable("S3 does not copy parts, as so large a file needs")
        return str(etag)

    def delete(self, key: str) -> None:
        """There is no such object any more."""
        self._ask("delete_object", Key=self._key(key))

    def objects(self, prefix: str) -> Iterator[Object]:
        """The objects whose keys begin so."""
        for page in self._pages(prefix):
            for each in page.get("Contents", ()):
                yield Object(self._own(each["Key"]), each["LastModified"].timestamp())

    def folders(self, prefix: str) -> list[str]:
        """What stands between a prefix and the next slash."""
        pages = self._pages(prefix, Delimiter="/")
        found = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ())]
        return sorted(self._own(each)[len(prefix) :].rstrip("/") for each in found)

    def _pages(self, prefix: str, **more: Any) -> Iterator[Any]:
        begin: dict[str, Any] = {}
        while True:
            page = self._ask("list_objects_v2", Prefix=self._key(prefix), MaxKeys=_PAGE, **begin, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            begin = {"ContinuationToken": page["NextContinuationToken"]}

    # Uploads in parts, of which nobody sees anything before they are complete.

    def begin(self, key: str) -> str:
        """Begin one: its id."""
        return str(self._ask("create_multipart_upload", Key=self._key(key))["UploadId"])

    def send(self, key: str, upload: str, number: int, body: BinaryIO, md5: bytes) -> str:
        """Send the whole of a file as a part, in the place of one that there may be: its ETag.

        Raises :exc:`.NotThere` if the upload is over.
        """
        answer = self._ask(
            "upload_part",
            Key=self._key(key),
            UploadId=upload,
            PartNumber=number,
            Body=body,
            ContentMD5=b64encode(md5).decode(),
        )
        return str(answer["ETag"])

    def sent(self, key: str, upload: str) -> list[Sent]:
        """The parts that are there, by number. Raises :exc:`.NotThere`."""
        found: dict[int, Sent] = {}
        begin: dict[str, Any] = {}
        while True:
            page = self._ask("list_parts", Key=self._key(key), UploadId=upload, **begin)
            for each in page.get("Parts", ()):
                number, at = int(each["PartNumber"]), each["LastModified"].timestamp()
                found[number] = Sent(number, int(each["Size"]), each["ETag"], at)
            if not page.get("IsTruncated"):
                return [found[number] for number in sorted(found)]
            begin = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def complete(self, key: str, upload: str, etags: Sequence[str]) -> None:
        """Let the object appear that just these parts make. Raises :exc:`.NotThere` if the upload is over."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        self._ask(
            "complete_multipart_upload",
            Key=self._key(key),
            UploadId=upload,
            MultipartUpload={"Parts": parts},
        )

    def abort(self, key: str, upload: str) -> None:
        """Nothing comes of it. Raises :exc:`.NotThere` if it is over."""
        self._ask("abort_multipart_upload", Key=self._key(key), UploadId=upload)

    def uploads(self, prefix: str) -> Iterator[Object]:
        """Uploads that are not complete, of keys that begin so. There are servers that tell of all."""
        begin: dict[str, Any] = {}
        while True:
            page = self._ask("list_multipart_uploads", Prefix=self._key(prefix), **begin)
            for each in page.get("Uploads", ()):
                if each["Key"].startswith(self._key(prefix)):
                    yield Object(self._own(each["Key"]), each["Initiated"].timestamp(), each["UploadId"])
            if not page.get("IsTruncated"):
                return
            begin = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _key(self, key: str) -> str:
        return self._prefix + key

    def _own(self, key: str) -> str:
        return key[len(self._prefix) :]


def _body(answer: Any) -> bytes:
    with answer["Body"] as body:
        data: bytes = body.read()
    return data
