"""How the suite logs: one line an event, as text or JSON, and a bound on what a stranger can cause."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any, TextIO

from twisted.internet.interfaces import IReactorTime
from twisted.logger import (
    ILogFilterPredicate,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    PredicateResult,
    formatEvent,
)
from zope.interface import implementer, provider

# What is not a plain field of ours in a log event, by twisted.logger's own naming.
_PLAIN = (str, int, float, bool, type(None))
# Of a URL. SQLAlchemy takes a user with @ and a password with / and @ as they are: so up to the last @.
_PASSWORD = re.compile(r"(?<=://)([^\s/:]*:)(?:(?!://)\S)*@")
_QUERY = re.compile(r"(?<=[?&])((?:ssl|sentinel_)?password=)[^\s&'\"]*")  # of a URL too
# What may be a token, good or not: a JSON object in base64, and then a dot.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_.-]*")

# Twisted's own words on the start and the end of a process, and on each of its ports.
_OF_THE_PROCESS = ("twisted.scripts.", "twisted.internet.base")
_OF_A_PORT = re.compile(r"\S+( \(\w+\))* starting on .+|\((\w+ )?Port .+ Closed\)")


@provider(ILogFilterPredicate)
def unless_said_twice(event: LogEvent) -> Any:
    """Leave out what Twisted tells of a start and an end.

    The suite tells it, too, and knows more: which service a port is for.
    """
    namespace = event.get("log_namespace", "")
    if event.get("log_level") is LogLevel.info and (
        namespace.startswith(_OF_THE_PROCESS)
        or (namespace == "log_legacy" and _OF_A_PORT.fullmatch(formatEvent(event)))
    ):
        return PredicateResult.no
    return PredicateResult.maybe


def one_line(value: str) -> str:
    """`value` with everything escaped that cannot be seen as it is.

    So what a stranger sent begins no line of its own, whatever takes for the end of one, moves no cursor and
    turns no direction; and it can be written as UTF-8.
    """
    return value if value.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in value)


def first_line(error: object) -> str:
    """The first line of what somebody else's error says, which may have many, or none."""
    return next(iter(str(error).strip().splitlines()), "no reason given")


def redacted(text: str) -> str:
    """`text` without the tokens and the passwords of URLs in it, which are not for whoever reads a log."""
    return _QUERY.sub(r"\1***", _PASSWORD.sub(r"\1***@", _TOKEN.sub("<token>", text)))


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{{{number:x}}}"


def _json_escaped(line: str) -> str:
    """The same for a line of JSON, in its own way: what cannot be seen is only ever in its strings."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _stamp(event: LogEvent) -> str:
    at = event["log_time"]
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d}Z"


def _fields(event: LogEvent) -> dict[str, Any]:
    """The fields that the caller gave, those of :mod:`twisted.logger` left out."""
    return {
        key: value if isinstance(value, _PLAIN) else str(value)
        for key, value in event.items()
        if not key.startswith("log_") and key not in ("message", "time", "system", "format", "isError")
    }


def _traceback(event: LogEvent) -> str | None:
    failure = event.get("log_failure")
    return None if failure is None else failure.getTraceback()


@implementer(ILogObserver)
class TextObserver:
    """Writes ``time level namespace: message`` and, for a failure, its traceback indented below."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: LogEvent) -> None:
        level = event["log_level"].name if event.get("log_level") else "info"
        namespace = event.get("log_namespace", "-").removeprefix("protosuite.")
        line = f"{_stamp(event)} {level:8} {namespace}: {one_line(formatEvent(event))}"
        if traceback := _traceback(event):
            line += "".join(f"\n    | {one_line(part)}" for part in traceback.rstrip().splitlines())
        self._out.write(redacted(line) + "\n")
        self._out.flush()


@implementer(ILogObserver)
class JSONObserver:
    """Writes one JSON object a line: time, level, namespace, message, then the event's own fields."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: LogEvent) -> None:
        record = {
            "time": _stamp(event),
            "level": event["log_level"].name if event.get("log_level") else "info",
            "namespace": event.get("log_namespace", "-"),
            "message": formatEvent(event),
            **_fields(event),
        }
        if traceback := _traceback(event):
            record["traceback"] = traceback
        line = redacted(json.dumps(record, ensure_ascii=False))
        self._out.write((line if line.isprintable() else _json_escaped(line)) + "\n")
        self._out.flush()


OBSERVERS: dict[str, Callable[[TextIO], TextObserver | JSONObserver]] = {
    "text": TextObserver,
    "json": JSONObserver,
}


class Muffled:
    """A logger for what strangers cause: at most `burst` events each `every` seconds.

    The first event after a silence says how many were left out.
    """

    def __init__(self, log: Logger, clock: IReactorTime, *, burst: int = 10, every: float = 10.0) -> None:
        self._log = log
        self._clock = clock
        self._burst = burst
        self._every = every
        self._since = clock.seconds()
        self._written = 0
        self._left_out = 0

    def info(self, format: str, **fields: object) -> bool:
        """Log at level info, or count it as left out: False."""
        now = self._clock.seconds()
        if now - self._since >= self._every:
            self._since, self._written = now, 0
        if self._written >= self._burst:
            self._left_out += 1
            return False
        self._written += 1
        if self._left_out:
            format += " ({left_out} more like this were not logged)"
            fields["left_out"], self._left_out = self._left_out, 0
        self._log.info(format, **fields)
        return True
