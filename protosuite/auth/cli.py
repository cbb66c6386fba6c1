"""``protosuite-token``: keys, tokens, and tokens taken back."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import time
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from protosuite import config as configuration
from protosuite import program
from protosuite.auth import keys, revocations, tokens
from protosuite.auth.guard import Revoked
from protosuite.auth.revocations import Revocation
from protosuite.auth.rules import ROLES
from protosuite.auth.tokens import Identity, Keys, NotValid
from protosuite.config import ConfigurationError
from protosuite.errors import StartError, StorageError, Unauthenticated
from protosuite.logs import first_line, one_line, redacted
from protosuite.program import EXIT_FAILED, EXIT_OK, Failed
from protosuite.storage import engines
from protosuite.storage.timeouts import Timeouts

NAME = "protosuite-token"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = 3650 * 86_400  # seconds


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the program."""
    sys.exit(run(parse(argv)))


def run(arguments: Namespace) -> int:
    """Do what the command line says: the exit code, after one line on standard error if it is not 0."""
    try:
        return _COMMANDS[arguments.command](arguments)
    except ConfigurationError as error:
        for problem in error.problems:
            program.say(redacted(str(problem)))
    except (Failed, StartError) as error:
        program.say(redacted(f"{NAME}: {error}"))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left
    return EXIT_FAILED


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """The command line. Ends the program if it is wrong."""
    parser = program.parser(
        NAME,
        "Make the keys of a suite and the tokens that they sign, look at tokens, and take them back.",
        f"{NAME} init /etc/protosuite/keys\n"
        f"  {NAME} --config suite.ini make --role client --subject ana --for 7d > ana.token\n"
        f"  {NAME} --config suite.ini revoke - < ana.token",
    )
    _add_config(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="make a file of keys, for [auth] secret_file")
    init.add_argument("file", metavar="SECRET_FILE", type=Path)
    init.add_argument("--rotate", action="store_true", help="put a new key before those in the file")
    make = commands.add_parser("make", help="print a new token")
    make.add_argument("--role", required=True, choices=ROLES, help="what its bearer may do")
    make.add_argument("--subject", required=True, metavar="S", type=_subject, help="who its bearer is")
    make.add_argument(
        "--for",
        dest="lifetime",
        metavar="TIME",
        type=_span,
        default=30 * 86_400,
        help="how long it is good, as 90s, 15m, 12h or 30d (default: 30d)",
    )
    show = commands.add_parser("show", help="print what is in a token, and whether it is good")
    show.add_argument("token", metavar="TOKEN", help="the token; - reads it from standard input")
    revoke = commands.add_parser("revoke", help="take a token back, also while connections live on it")
    revoke.add_argument("token", metavar="ID_OR_TOKEN", help="a token or its id; - reads standard input")
    listing = commands.add_parser("list-revoked", help="print the tokens that were taken back")
    for command in (init, make, show, revoke, listing):
        _add_config(command, default=SUPPRESS)
    for command in (show, listing):
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def _add_config(parser: ArgumentParser, default: str | None = None) -> None:
    """The option of all commands; it may stand before and behind the command."""
    parser.add_argument(
        "-c", "--config", metavar="FILE", default=default, help="the suite's configuration file"
    )


def _subject(text: str) -> str:
    if not tokens.is_subject(text):
        raise ArgumentTypeError("a subject is 1 to 64 characters, none of them a control character")
    return text


def _span(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,9})([smhd])", text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= _LONGEST:
        raise ArgumentTypeError(f"{text!r} is no time such as 90s, 15m, 12h or 30d, ten years at most")
    return seconds


# The commands.


def _init(arguments: Namespace) -> int:
    path: Path = arguments.file
    try:
        id = keys.rotate(path) if arguments.rotate else keys.make(path)
    except FileExistsError:
        raise Failed(f"{path} is there already: --rotate puts a new key before its keys") from None
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}") from None
    if arguments.rotate:
        program.say(f"{path}: key {id} signs from now on, the others still verify; restart the suite")
    else:
        program.say(f"{path}: made, with key {id}; put it into the configuration as [auth] secret_file")
    return EXIT_OK


def _make(arguments: Namespace) -> int:
    now = int(time.time())
    id = secrets.token_hex(8)
    identity = Identity(id, arguments.role, arguments.subject, now + arguments.lifetime)
    print(_keys(_load(arguments)).sign(identity, now), flush=True)
    program.say(f"token {id} of {arguments.role} {arguments.subject}, good until {_day(identity.expires)}")
    return EXIT_OK


def _show(arguments: Namespace) -> int:
    config = _load(arguments)
    token = _given(arguments.token)
    status = _status(config, _keys(config), token)
    claims = tokens.unverified(token)
    names = {"id": "jti", "role": "role", "subject": "sub", "issued": "iat", "expires": "exp", "key": "kid"}
    fields = {name: claims.get(claim) for name, claim in names.items()} | {"status": status}
    if arguments.json:
        print(json.dumps(fields), flush=True)
    else:
        for name, value in fields.items():
            shown = _day(value) if name in ("issued", "expires") else value
            print(f"{name:8} {one_line(str('-' if shown is None else shown))}", flush=True)
    return EXIT_OK if status == "good" else EXIT_FAILED


def _status(config: configuration.Config, its_keys: Keys, token: str) -> str:
    try:
        identity = its_keys.verify(token, time.time())
        if _has_database(_url(config)):  # without one nothing was ever revoked
            with _database(config) as connection:
                if any(revocation.id == identity.id for revocation in revocations.read(connection)):
                    raise Revoked
    except Unauthenticated as error:
        return error.message.removeprefix("the token ")
    return "good"


def _revoke(arguments: Namespace) -> int:
    config = _load(arguments)
    text = _given(arguments.token)
    id, expires_at = text, None
    if not tokens.is_id(text) or text.startswith("eyJ"):
        try:
            identity = _keys(config).read(text)
        except NotValid:
            raise Failed("neither the id of a token nor a token that one of these keys has signed") from None
        id, expires_at = identity.id, identity.expires * 1000
    with _database(config) as connection:
        revocations.add(connection, Revocation(id, expires_at, int(time.time() * 1000)))
    until = f" until {_day(expires_at // 1000)}" if expires_at is not None else " for ever"
    program.say(f"token {id} is revoked; that is kept{until}")
    return EXIT_OK


def _list(arguments: Namespace) -> int:
    with _database(_load(arguments)) as connection:
        found = revocations.read(connection)
    if arguments.json:
        print(
            json.dumps([{"id": r.id, "revoked_at": r.revoked_at, "expires_at": r.expires_at} for r in found])
        )
        return EXIT_OK
    for revocation in found:
        ends = _day(revocation.expires_at // 1000) if revocation.expires_at is not None else "unknown"
        print(f"{revocation.id} revoked {_day(revocation.revoked_at // 1000)} expires {ends}")
    return EXIT_OK


_COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "init": _init,
    "make": _make,
    "show": _show,
    "revoke": _revoke,
    "list-revoked": _list,
}


# What they need.


def _load(arguments: Namespace) -> configuration.Config:
    return configuration.load(arguments.config, os.environ)


def _keys(config: configuration.Config) -> Keys:
    if not config.auth.secret_file:
        raise Failed("no keys: give --config FILE, a configuration in which [auth] secret_file names them")
    return tokens.load(Path(config.auth.secret_file))


def _given(text: str) -> str:
    """A token or an id, from the command line or standard input."""
    return sys.stdin.readline(tokens.MAX_TOKEN + 2).strip() if text == "-" else text


@contextmanager
def _database(config: configuration.Config) -> Iterator[Connection]:
    """The suite's database in one transaction, whether the suite runs or not."""
    url = _url(config)
    if not _has_database(url):
        raise Failed(f"there is no database {url.database}: start the suite once, or check [suite] data")
    transactions = engines.writing(url, Timeouts(), time.monotonic)
    try:
        with transactions.at_start() as connection:
            yield connection
    except StorageError as error:
        raise Failed(f"{error}; it is {engines.shown(url)}") from None
    except DBAPIError as error:
        what = f"the database {engines.shown(url)} cannot be used ({first_line(error.orig)})"
        raise Failed(f"{what}: has this version of the suite been started with it?") from None
    finally:
        transactions.stop()


def _url(config: configuration.Config) -> URL:
    return engines.resolve(config.suite.database, Path(config.suite.data).absolute())


def _has_database(url: URL) -> bool:
    """Whether there is one, as far as that is seen without asking for it."""
    return not engines.is_file(url) or Path(str(url.database)).exists()


def _day(seconds: Any) -> str:
    """A time for a person, from seconds since the epoch."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (TypeError, ValueError, OverflowError, OSError):
        return "-"
