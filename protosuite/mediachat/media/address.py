"""The setting ``[mediachat] media``: ``local``, a folder that nodes share, or the URL of a bucket."""

from __future__ import annotations

import importlib.util
import re
from urllib.parse import parse_qsl, urlsplit

from attrs import frozen

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9!_.*'()-]+")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_MAX_PREFIX = 512  # bytes; a key has 1,024, and ours add less than 100
_STYLES = ("path", "virtual")
_CREDENTIALS = (
    "a URL has no credentials: they come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the"
    " environment, or from the other places where AWS looks"
)


@frozen
class Address:
    """A bucket of something that speaks S3, and where in it our keys begin."""

    bucket: str
    prefix: str = ""  # with a / at its end, if there is one
    endpoint: str | None = None  # None: AWS
    region: str | None = None
    style: str | None = None  # whether the bucket is in the path or the host name; None: as is usual there

    def __str__(self) -> str:
        at = "" if self.endpoint is None else f" at {self.endpoint}"
        return f"s3://{self.bucket}/{self.prefix}{at}"


def parse(url: str) -> Address:
    """The address that a URL means. Raises `ValueError` with a sentence for a person.

    ``s3://BUCKET[/PREFIX][?endpoint=URL][&region=NAME][&style=path|virtual]``.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3":
        raise ValueError("a URL begins with s3://")
    if "@" in parts.netloc:
        raise ValueError(_CREDENTIALS)
    if _BUCKET.fullmatch(parts.netloc) is None:
        raise ValueError("behind s3:// there is the name of a bucket: 3 to 63 of a-z, 0-9, . and -")
    options = _options(parts.query, parts.fragment)
    prefix = _prefix(parts.path)
    endpoint = options.get("endpoint")
    if endpoint is not None:
        _check_endpoint(endpoint)
    if _REGION.fullmatch(options.get("region", "-")) is None:
        raise ValueError("region is a name such as eu-central-1")
    if options.get("style", "path") not in _STYLES:
        raise ValueError(f"style is one of {', '.join(_STYLES)}")
    return Address(parts.netloc, prefix, endpoint, options.get("region"), options.get("style"))


def problem(setting: str) -> str | None:
    """What is wrong with the setting, for a person; None if nothing is. Nothing is looked at but the text."""
    if not setting.startswith("s3:"):
        return None  # the setting's own kind has looked at the rest
    try:
        parse(setting)
    except ValueError as error:
        return str(error)
    if importlib.util.find_spec("boto3") is None:
        return "S3 needs more than is installed: pip install 'protosuite[s3]'"
    return None


def _options(query: str, fragment: str) -> dict[str, str]:
    if fragment:
        raise ValueError("there is nothing behind a #")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise ValueError("behind the ? there are name=value, separated by &") from None
    names = [name for name, _ in pairs]
    if unknown := [name for name in names if name not in ("endpoint", "region", "style")]:
        raise ValueError(f"behind the ? there may be endpoint, region and style, not {unknown[0]!r}")
    if len(set(names)) != len(names):
        raise ValueError("behind the ? something is given twice")
    return dict(pairs)


def _prefix(path: str) -> str:
    text = path.strip("/")
    if not text:
        return ""
    if len(text) > _MAX_PREFIX or not all(_SEGMENT.fullmatch(each) for each in text.split("/")):
        raise ValueError("a prefix is made of A-Z, a-z, 0-9, ! - _ . * ' ( ) and, between names, single /")
    return text + "/"


def _check_endpoint(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("endpoint is no URL") from None
    if "@" in parts.netloc:
        raise ValueError(_CREDENTIALS)
    is_bare = parts.path in ("", "/") and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_bare or port == 0:
        raise ValueError("endpoint is as https://HOST or http://HOST:PORT")
