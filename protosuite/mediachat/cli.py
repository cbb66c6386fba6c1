"""``protosuite-mediachat``: say something, send files, listen, and read what was said."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo

from protosuite import program, reaching
from protosuite.mediachat.commands import NAME, Listening, Reading, Saying, SendingFiles
from protosuite.mediachat.wire import KINDS, TEXT

_MAX_ID = 2**53 - 1
_MAX_LIMIT = 100_000
_RUNS = {"say": Saying, "send": SendingFiles, "listen": Listening, "history": Reading}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the program."""
    arguments = parse(argv)
    run = _RUNS[arguments.command](arguments)
    program.run(NAME, run.main, arguments, run.interrupted)


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """The command line. Ends the program if it is wrong."""
    parser = program.parser(
        NAME,
        "Talk to the people who answer: say something, send files, and save what they send.",
        f"{NAME} --client 7 say 'Where is my parcel?'\n"
        f"  {NAME} --client 7 send photo.jpg\n"
        f"  {NAME} --client 7 --save answers --state answers.json listen",
    )
    reaching.add_server(parser, 8000)
    reaching.add_token(parser)
    a_client = program.bounded(1, _MAX_ID)
    reaching.add_tls(parser)
    parser.add_argument("--client", metavar="N", type=a_client, help="who one is (the token's subject, or 1)")
    parser.add_argument(
        "--timezone", metavar="Z", type=_timezone, help="an IANA name, Europe/Paris say (the machine's)"
    )
    parser.add_argument("--save", metavar="DIR", type=Path, help="listen: save media there")
    parser.add_argument(
        "--state",
        metavar="FILE",
        type=Path,
        help="listen: keep in FILE what was taken, and go on behind it, even after a kill",
    )
    reaching.add_timeout(parser, "give up when nothing has come of it for S seconds; listen never does")
    parser.add_argument("--json", action="store_true", help="print JSON, an object a line")
    _add_commands(parser)
    arguments = parser.parse_args(argv)
    if arguments.command != "listen" and (arguments.save or arguments.state):
        parser.error("--save and --state are for listen")
    if arguments.client is None:
        arguments.client = _own(parser, arguments) or 1
    return arguments


def _own(parser: ArgumentParser, arguments: Namespace) -> int | None:
    """Which client the token is for."""
    try:
        subject = reaching.subject(reaching.token(arguments)) or ""
    except program.Failed as error:
        parser.error(str(error))
    is_client = subject.isascii() and subject.isdigit() and not subject.startswith("0") and len(subject) <= 16
    return int(subject) if is_client and int(subject) <= _MAX_ID else None


def _add_commands(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    say = commands.add_parser("say", help="say TEXT, and print what became of it")
    say.add_argument("text", metavar="TEXT", type=_text)
    send = commands.add_parser("send", help="send files; one that was broken off goes on where it was")
    send.add_argument("files", metavar="FILE", nargs="+", type=Path)
    send.add_argument("--kind", choices=KINDS, help="what they are (by their names)")
    send.add_argument("--again", action="store_true", help="also what has been sent before")
    listen = commands.add_parser("listen", help="print what is said, until Ctrl-C")
    listen.add_argument(
        "--count", metavar="N", type=program.bounded(1, _MAX_ID), help="stop after N messages"
    )
    history = commands.add_parser("history", help="print what was said last")
    limit = program.bounded(1, _MAX_LIMIT)
    history.add_argument("--limit", metavar="N", type=limit, default=20, help="so many (%(default)s)")
    history.add_argument("--before", metavar="ID", type=program.bounded(1, _MAX_ID), help="before message ID")


def _text(text: str) -> str:
    check, allowed = TEXT
    if not check(text):
        raise ArgumentTypeError(f"not {allowed}")
    return text


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except Exception:  # of several kinds, for names that lead out of the folder or to one
        raise ArgumentTypeError(f"{text!r} is no time zone, as Europe/Paris is one") from None
    return text
