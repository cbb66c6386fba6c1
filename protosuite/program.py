"""What the programs share: command lines, exit codes, one-line errors, Ctrl-C, output that arrives."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

import protosuite
from protosuite.logs import redacted
from protosuite.net.load import Load, LoadConnection, Report

EXIT_OK, EXIT_FAILED = 0, 1  # 2, for a wrong command line, is argparse's own
SHELLS = ("bash", "zsh", "fish")
# What moves a terminal's cursor, ends a line, turns the direction of what follows, or is no UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

Main = Callable[[Any, argparse.Namespace], Awaitable[int]]


class Failed(Exception):
    """The program cannot do what it was asked to. The text is the one line that the person sees."""


def parser(program: str, description: str, example: str) -> argparse.ArgumentParser:
    """A command line with what all programs have: ``--help`` with an example, and ``--version``."""
    result = _Parser(
        prog=program,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--version", action="version", version=f"{program} {protosuite.__version__}")
    result.add_argument(
        "--print-completion",
        action=_Completion,
        choices=SHELLS,
        metavar="SHELL",
        help=f"print what completes this command line in {', '.join(SHELLS[:-1])} or {SHELLS[-1]}, and exit",
    )
    return result


class _Completion(argparse.Action):
    """Prints a script for a shell, made from the parser as it is then."""

    def __init__(self, **options: Any) -> None:
        super().__init__(default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> NoReturn:
        import shtab  # nobody else needs it

        for each in _parsers(parser):
            for action in each._actions:
                if action.type is Path or action.metavar == "FILE":
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell=arguments[1]))
        parser.exit()


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _parsers(command)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(redacted(message))  # somebody may have put a token where it does not belong


def bounded(minimum: int, maximum: int) -> Callable[[str], int]:
    """An argparse type: a whole number within bounds."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not minimum <= int(text) <= maximum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def positive_seconds(text: str) -> float:
    """An argparse type: a number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def say(text: str) -> None:
    """One line for the person, apart from the program's output."""
    print(text, file=sys.stderr, flush=True)


def shown(text: str) -> str:
    """`text` of somebody else as it is safe on a terminal, on one line."""
    return _UNSAFE.sub("\ufffd", text)


def put(text: str) -> None:
    """Write lines to standard output. `BrokenPipeError` if nobody reads it any more."""
    try:
        print(text, flush=True)
    except OSError as error:
        discard()
        if isinstance(error, BrokenPipeError):
            raise
        raise Failed(f"cannot write: {error.strerror}") from None


def discard() -> None:
    """From now on what goes to standard output is nobody's, what it holds already too."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def add_load(parser: argparse.ArgumentParser) -> None:
    """The options of a load."""
    options: dict[str, tuple[Any, Any, str]] = {
        "--connections": (bounded(1, 10_000), 40, "how many at once"),
        "--depth": (bounded(1, 4096), 1, "requests in flight on each"),
        "--seconds": (positive_seconds, 5.0, "how long"),
    }
    for name, (kind, default, text) in options.items():
        help = f"{text} (default: {default:g})"
        parser.add_argument(name, metavar=name[2].upper(), type=kind, default=default, help=help)


async def run_load(
    reactor: Any, arguments: argparse.Namespace, make: Callable[[Load, int], LoadConnection]
) -> Report:
    """Put a load on the server, with a live rate where standard error is a terminal."""
    shown = sys.stderr.isatty()
    last = 0

    def tick(requests: int) -> None:
        nonlocal last
        if shown:
            print(f"\r{requests - last:,} requests/s ", end="", file=sys.stderr, flush=True)
        last = requests

    load = Load(make, reactor, arguments.connections, arguments.depth, arguments.seconds, tick)
    load.connect(reactor, arguments.host, arguments.port)
    report = await load.finished
    if shown:
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
    return report


def run(
    program: str, main: Main, arguments: argparse.Namespace, on_interrupt: Callable[[], None] | None = None
) -> NoReturn:
    """Run `main` in the reactor and exit with its code.

    :exc:`Failed` is one line on standard error and exit code 1; SIGINT and SIGTERM end the program with
    128 + the signal's number, as shells expect, after `on_interrupt`.
    """
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    codes: list[int] = []

    def finish(code: int) -> None:
        if not codes:
            codes.append(code)
            reactor.stop()

    def failed(failure: Failure) -> None:
        if codes:
            return  # what breaks while the program ends is not news
        error = failure.value
        if isinstance(error, Failed):
            say(redacted(f"{program}: {error}"))
        elif isinstance(error, BrokenPipeError):
            sys.stderr.close()  # whoever read our output has left: nothing to say and nobody to say it to
        else:
            say(f"{program}: {type(error).__name__}: {error}")
        finish(EXIT_FAILED)

    def interrupted(number: int, _: object) -> None:
        if codes:
            return
        if on_interrupt is not None:
            on_interrupt()
        reactor.callFromThread(finish, 128 + number)

    def begin() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupted)

        async def called() -> int:
            return await main(reactor, arguments)

        Deferred.fromCoroutine(called()).addCallbacks(finish, failed)

    reactor.callWhenRunning(begin)
    reactor.run()
    sys.exit(codes[0] if codes else EXIT_FAILED)
