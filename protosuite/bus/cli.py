"""``protosuite-bus``: echo, add, publish and subscribe, or put a load on the server."""

from __future__ import annotations

import json
import os
import sys
from argparse import SUPPRESS, ArgumentTypeError, Namespace
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from protosuite import program, reaching
from protosuite.bus import bus_pb2 as pb
from protosuite.bus.client import BusClientFactory
from protosuite.bus.load import EchoLoad
from protosuite.bus.topics import check_content_type, check_pattern, check_topic
from protosuite.errors import BadRequest, OutcomeUnknown, ServerRefused

NAME = "protosuite-bus"
_MAX_MESSAGE = 64 << 20  # bytes; as many as a server can be told to take: whether this one does, it says
_CLOSE_TIMEOUT = 5.0  # seconds that what was written has to leave

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the program."""
    parser = program.parser(
        NAME,
        "Ask the bus for an echo or a sum, publish events, and subscribe to them.",
        f"{NAME} subscribe 'sensor.#' --replay 10 --json",
    )
    reaching.add_server(parser, 8081)
    reaching.add_token(parser)
    reaching.add_timeout(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    echo = commands.add_parser("echo", help="print TEXT as the server sends it back")
    echo.add_argument("text", metavar="TEXT", type=_utf8)
    add = commands.add_parser("add", help="print A + B by the server")
    add.add_argument("a", metavar="A", type=_int32)
    add.add_argument("b", metavar="B", type=_int32)
    _add_publish(commands)
    _add_subscribe(commands)
    delete = commands.add_parser("delete", help="delete a durable subscription with all that it is owed")
    delete.add_argument("--durable", metavar="NAME", required=True, type=_utf8, help="its name")
    delete.add_argument("pattern", metavar="PATTERN", type=_pattern, help="its pattern")
    load = commands.add_parser("load", help="echo as fast as the server answers, and print how fast that was")
    program.add_load(load)
    arguments = parser.parse_args(argv)
    if arguments.command == "subscribe" and arguments.durable and len(arguments.patterns) > 1:
        parser.error("a durable subscription has one PATTERN")
    if arguments.command == "subscribe" and arguments.durable and arguments.replay:
        parser.error("--replay is for a subscription that is not durable")
    if arguments.command == "publish":
        arguments.payload = _payload(arguments)
    command = {"publish": _publish, "subscribe": _subscribe, "load": _load}.get(arguments.command, _ask)

    async def run(reactor: Any, arguments: Namespace) -> int:
        try:
            return await command(reactor, arguments)
        finally:
            ended()

    def ended() -> None:
        arguments.is_quiet = True  # that the connection is lost now is not news

    arguments.is_quiet = False
    program.run(NAME, run, arguments, ended)


def _add_publish(commands: Any) -> None:
    publish = commands.add_parser("publish", help="publish an event and print its sequence")
    publish.add_argument(
        "topic", metavar="TOPIC", type=_checked(check_topic), help="words joined by dots, as sensor.kitchen"
    )
    what = publish.add_mutually_exclusive_group()
    what.add_argument(
        "text", metavar="TEXT", nargs="?", default="", help="the payload; - reads standard input"
    )
    what.add_argument("--file", metavar="F", help="take the payload from a file")
    publish.add_argument(
        "--type",
        metavar="CONTENT_TYPE",
        type=_checked(check_content_type),
        default="",
        help="what the payload is, text/plain say",
    )


def _add_subscribe(commands: Any) -> None:
    subscribe = commands.add_parser("subscribe", help="print the events whose topics match a PATTERN")
    text = "topics in which * stands for one word and # for any number of them"
    subscribe.add_argument("patterns", metavar="PATTERN", nargs="+", type=_pattern, help=text)
    subscribe.add_argument(
        "--replay",
        metavar="N",
        type=program.bounded(0, 2**32 - 1),
        default=0,
        help="first the last N of each topic",
    )
    subscribe.add_argument(
        "--durable",
        metavar="NAME",
        type=_utf8,
        default="",
        help="at least once: the server keeps what NAME has not acknowledged, which is what was not printed",
    )
    subscribe.add_argument(
        "--count", metavar="N", type=program.bounded(1, 2**32 - 1), help="stop after N events"
    )
    subscribe.add_argument("--json", action="store_true", default=SUPPRESS, help="print JSON")


# What arguments are.


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ArgumentTypeError(f"{text!r} is not UTF-8") from None
    return text


def _int32(text: str) -> int:
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 10 and -(2**31) <= int(text) < 2**31:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a whole number from {-(2**31)} to {2**31 - 1}")


def _checked(check: Callable[[str], None]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        try:
            check(text)
        except BadRequest as error:
            raise ArgumentTypeError(f"{text!r}: {error.message}") from None
        return text

    return parse


_pattern = _checked(check_pattern)


def _payload(arguments: Namespace) -> bytes:
    """What to publish. Read before the reactor runs, where Ctrl-C still ends a read."""
    try:
        if arguments.file is not None:
            with open(arguments.file, "rb") as file:
                payload = file.read(_MAX_MESSAGE + 1)
        elif arguments.text == "-":
            payload = sys.stdin.buffer.read(_MAX_MESSAGE + 1)
        else:
            return os.fsencode(arguments.text)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        program.say(f"{NAME}: cannot read {arguments.file or 'standard input'}: {error.strerror}")
        sys.exit(program.EXIT_FAILED)
    if len(payload) > _MAX_MESSAGE - 1024:
        program.say(f"{NAME}: the payload is more than a message can hold")
        sys.exit(program.EXIT_FAILED)
    return payload


# The commands.


def _client(
    reactor: Any, arguments: Namespace, on_refusal: Callable[[ServerRefused], None] | None = None
) -> BusClientFactory:
    def status(text: str) -> None:
        if not arguments.is_quiet:
            program.say(program.shown(text))

    factory = BusClientFactory(
        reactor,
        max_message=_MAX_MESSAGE,
        token=reaching.token(arguments),
        on_status=status,
        on_refusal=on_refusal,
    )
    reaching.connect(reactor, arguments, factory)
    return factory


async def _within(reactor: Any, arguments: Namespace, answer: Deferred[T]) -> T:
    """An answer, within the time that the person has."""
    try:
        return await reaching.within(reactor, arguments, answer)
    except (ServerRefused, OutcomeUnknown, ConnectionError) as error:
        raise program.Failed(program.shown(str(error))) from None


async def _close(reactor: Any, factory: BusClientFactory) -> None:
    """Let what was written leave, and leave."""
    with suppress(DeferredTimeout):  # from a server that does not read
        await factory.close().addTimeout(_CLOSE_TIMEOUT, reactor)


def _say(arguments: Namespace, text: object, fields: dict[str, object]) -> None:
    program.put(json.dumps(fields) if arguments.json else str(text))


async def _ask(reactor: Any, arguments: Namespace) -> int:
    """``echo``, ``add`` and ``delete``."""
    factory = _client(reactor, arguments)
    if arguments.command == "echo":
        text = await _within(reactor, arguments, factory.echo(arguments.text))
        _say(arguments, text, {"echo": text})
    elif arguments.command == "add":
        a, b = arguments.a, arguments.b
        total = await _within(reactor, arguments, factory.add(a, b))
        _say(arguments, total, {"a": a, "b": b, "sum": total})
    else:
        deleting = factory.delete_durable(arguments.pattern, arguments.durable)
        await _within(reactor, arguments, deleting)
        _say(arguments, f"deleted {program.shown(arguments.durable)}", {"deleted": arguments.durable})
    await _close(reactor, factory)
    return program.EXIT_OK


async def _publish(reactor: Any, arguments: Namespace) -> int:
    factory = _client(reactor, arguments)
    publishing = factory.publish(arguments.topic, arguments.payload, arguments.type)
    sequence = await _within(reactor, arguments, publishing)
    _say(arguments, sequence, {"topic": arguments.topic, "sequence": sequence})
    await _close(reactor, factory)
    return program.EXIT_OK


async def _subscribe(reactor: Any, arguments: Namespace) -> int:
    printer = _Printer(reactor, arguments)
    factory = _client(reactor, arguments, printer.refused)
    count = arguments.count or 0
    subscriptions = [
        factory.subscribe(
            pattern,
            printer.take,
            replay=arguments.replay,
            durable=arguments.durable,
            prefetch=count if count < 100 else 0,  # what this one will not print is not kept from others
        )
        for pattern in dict.fromkeys(arguments.patterns)
    ]
    try:
        for subscription in subscriptions:
            await _within(reactor, arguments, subscription.when_ready())
    except program.Failed:
        printer.done.addErrback(lambda failure: None)  # if so, for the same reason
        raise
    try:
        await printer.done
    except ServerRefused as error:
        raise program.Failed(program.shown(str(error))) from None
    finally:
        for subscription in subscriptions:  # with its answer the server has the acknowledgements too
            await _within(reactor, arguments, subscription.stop())
        await _close(reactor, factory)
    return program.EXIT_OK


class _Printer:
    """Prints events, up to so many. `done` fires then, or fails if they cannot be printed."""

    def __init__(self, reactor: Any, arguments: Namespace) -> None:
        self.done: Deferred[None] = Deferred()
        self._reactor = reactor
        self._line = _json_line if arguments.json else _text_line
        self._left = arguments.count
        self._is_over = False

    def take(self, event: pb.Event) -> Deferred[None] | None:
        """Print `event`: a durable one is acknowledged when this returns None, and not with a Deferred."""
        if self._is_over:
            return Deferred()
        try:
            program.put(self._line(event))
        except Exception as error:
            self._is_over = True
            self.done.errback(error)
            return Deferred()
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._is_over = True
                self._reactor.callLater(0, self.done.callback, None)  # the acknowledgement goes first
        return None

    def refused(self, refusal: ServerRefused) -> None:
        """No more events will come."""
        if not self._is_over:
            self._is_over = True
            self.done.errback(refusal)


def _text_line(event: pb.Event) -> str:
    if event.dropped:
        program.say(f"{event.dropped} events were dropped here: this program was too slow for them")
    text = _text(event.payload)
    payload = event.payload.hex() if text is None or text != program.shown(text) else text
    return f"{program.shown(event.topic)} {event.sequence} {payload}"


def _json_line(event: pb.Event) -> str:
    fields: dict[str, object] = {
        "topic": event.topic,
        "sequence": event.sequence,
        "published_at": event.published_at,
        "pattern": event.pattern,
    }
    if event.content_type:
        fields["content_type"] = event.content_type
    if event.dropped:
        fields["dropped"] = event.dropped
    text = _text(event.payload)
    if text is None:
        fields["payload_base64"] = b64encode(event.payload).decode()
    else:
        fields["payload"] = text
    return json.dumps(fields)


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


async def _load(reactor: Any, arguments: Namespace) -> int:
    token = reaching.token(arguments)
    report = await program.run_load(reactor, arguments, lambda load, number: EchoLoad(load, number, token))
    _say(arguments, str(report), {**report.fields()})
    if report.errors:
        raise program.Failed(program.shown(report.errors[0]))
    return program.EXIT_OK
