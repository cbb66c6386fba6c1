"""``protosuite-cert``: certificates for trying TLS."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from twisted.internet.endpoints import quoteStringArgument

from protosuite import program
from protosuite.errors import StartError
from protosuite.program import EXIT_FAILED, EXIT_OK, Failed

if TYPE_CHECKING:
    from protosuite.cert.issuing import Issued
    from protosuite.cert.keeping import Place

# Everything that works with certificates is imported when it is needed, as it comes with an extra.

NAME = "protosuite-cert"
CA = "ca"  # the name of the authority's files

_DAYS = {"self": 30, "ca": 365, "server": 30, "client": 30, "renew": 30}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the program."""
    sys.exit(run(parse(argv)))


def run(arguments: Namespace) -> int:
    """Do what the command line says: the exit code, after one line on standard error if it is not 0."""
    try:
        act = {"self": _self, "ca": _ca, "server": _server, "client": _client, "renew": _renew}
        act[arguments.command](arguments)
    except ImportError as error:
        program.say(f"{NAME}: this needs more ({error}): pip install 'protosuite[tls]'")
    except (Failed, StartError) as error:
        program.say(f"{NAME}: {error}")
    except KeyboardInterrupt:
        return 130
    else:
        return EXIT_OK
    return EXIT_FAILED


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """The command line. Ends the program if it is wrong."""
    parser = program.parser(
        NAME,
        "Make certificates for trying TLS: one that signs itself, or an authority with some for servers and"
        " clients. For the public, have an authority sign them that others trust.",
        f"{NAME} self tls localhost 127.0.0.1\n"
        f"  {NAME} ca tls && {NAME} server tls localhost && {NAME} client tls ana\n"
        f"  {NAME} renew tls/server.pem",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    own = commands.add_parser("self", help="a server's certificate that signs itself")
    ca = commands.add_parser("ca", help="an authority, which signs what `server` and `client` make")
    server = commands.add_parser("server", help="a server's certificate, signed by the authority in FOLDER")
    client = commands.add_parser("client", help="a client's certificate, signed by the authority in FOLDER")
    renew = commands.add_parser("renew", help="the same again: a new key, a new number, a new time")
    for command in (own, ca, server, client):
        command.add_argument(
            "folder", metavar="FOLDER", type=Path, help="where the files are; made if missing"
        )
    for command in (own, server):
        help = "a name or an address by which clients reach the server"
        command.add_argument("names", metavar="NAME", nargs="+", type=_name, help=help)
        _add_file(command, "server")
    ca.add_argument("--name", default="protosuite trial authority", type=_called, help="what it is called")
    client.add_argument("name", metavar="NAME", type=_called, help="who the client is")
    _add_file(client, None)
    renew.add_argument("file", metavar="FILE", type=Path, help="a certificate that this program has made")
    for name, command in commands.choices.items():
        days = program.bounded(1, 36_500)
        command.add_argument(
            "--days", metavar="N", type=days, default=_DAYS[name], help="good so long (default: %(default)s)"
        )
    for command in (own, ca, server, client):
        command.add_argument(
            "--key", choices=("ec", "rsa", "ed25519"), default="ec", help="of P-256, of 3072 bits, or Ed25519"
        )
        command.add_argument("--force", action="store_true", help="replace files that are there")
    return parser.parse_args(argv)


def _add_file(command: ArgumentParser, default: str | None) -> None:
    shown = "%(default)s" if default else "NAME"
    command.add_argument(
        "--file", metavar="F", type=_file, default=default, help=f"write F.pem and F.key (default: {shown})"
    )


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:*_-]+", text):
        raise ArgumentTypeError(f"{text!r} is neither a name nor an address")
    return text


def _called(text: str) -> str:
    if not text or len(text) > 64 or not text.isprintable():
        raise ArgumentTypeError("a name is 1 to 64 characters, none of them a control character")
    return text


def _file(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", text):
        raise ArgumentTypeError(f"{text!r} is no name for a file here: 1 to 64 of A-Z a-z 0-9 . _ -")
    return text


# The commands.


def _self(arguments: Namespace) -> None:
    _make_server(arguments, None)


def _server(arguments: Namespace) -> None:
    _make_server(arguments, _signer(arguments.folder))


def _make_server(arguments: Namespace, signer: Issued | None) -> None:
    from protosuite.cert import issuing

    _check_file(arguments.file)
    for name in arguments.names:
        if not issuing.is_name(name):
            raise Failed(f"{name!r} is neither a name nor an address")
    made = issuing.server(arguments.names, arguments.key, _now(), arguments.days, signer)
    place = _save(arguments, arguments.file, made, signer)
    trusted = place.certificate if signer is None else _place(arguments.folder, CA).certificate
    _tell_server(place, trusted, arguments.names[0])


def _ca(arguments: Namespace) -> None:
    from protosuite.cert import issuing

    made = issuing.authority(arguments.name, arguments.key, _now(), arguments.days)
    place = _save(arguments, CA, made, None)
    print(f"next: {NAME} server {arguments.folder} localhost")
    print(f"and where clients have to show a certificate: {NAME} client {arguments.folder} NAME, with")
    print(f"listen = protosuite-tls:...:client_ca={_quoted(place.certificate)}", flush=True)


def _client(arguments: Namespace) -> None:
    from protosuite.cert import issuing

    file = arguments.file
    if file is None:
        try:
            file = _file(arguments.name)
        except ArgumentTypeError:
            raise Failed("that name is none for a file: say --file") from None
    _check_file(file)
    signer = _signer(arguments.folder)
    made = issuing.client(arguments.name, arguments.key, _now(), arguments.days, signer)
    place = _save(arguments, file, made, signer)
    ca = _place(arguments.folder, CA).certificate
    print("in suite.ini, so that only such clients get in:")
    print(f"listen = protosuite-tls:...:client_ca={_quoted(ca)}")
    print("a client with it:")
    own = f"-cert {place.certificate} -key {place.key}"
    print(f"openssl s_client -quiet -connect localhost:5501 -CAfile {ca} {own}", flush=True)


def _renew(arguments: Namespace) -> None:
    from cryptography.x509 import ExtensionNotFound

    from protosuite.cert import issuing, keeping

    file: Path = arguments.file
    if file.suffix != ".pem":
        raise Failed(f"{file} is no certificate of this program: its name would end with .pem")
    place = _place(file.parent, file.stem)
    old = keeping.load(place)
    is_own = issuing.is_own(old.certificate)
    signer = None if is_own else _signer(place.folder)
    if signer is not None and signer.certificate.subject != old.certificate.issuer:
        raise Failed(f"the authority in {place.folder} has not signed {file}")
    try:
        made = issuing.again(old, _now(), arguments.days, signer)
    except (LookupError, ValueError, ExtensionNotFound):
        raise Failed(f"{file} was not made by this program: only what it has made can be renewed") from None
    keeping.save(place, made, signer, replace=True)
    _tell(place, made)
    print("a suite that serves it takes the new one with the next connection", flush=True)


def _check_file(name: str) -> None:
    if name == CA:
        raise Failed(f"{CA} is the authority's: choose another --file")


def _signer(folder: Path) -> Issued:
    from protosuite.cert import issuing, keeping

    place = _place(folder, CA)
    if not place.certificate.exists():
        raise Failed(f"there is no authority in {folder}: make one with {NAME} ca {folder}")
    signer = keeping.load(place)
    if not issuing.is_authority(signer.certificate):
        raise Failed(f"{place.certificate} is not an authority's")
    if signer.certificate.not_valid_after_utc < _now():
        raise Failed(f"the authority in {folder} has expired: {NAME} renew {place.certificate}")
    return signer


def _save(arguments: Namespace, name: str, made: Issued, signer: Issued | None) -> Place:
    from protosuite.cert import keeping

    place = _place(arguments.folder, name)
    keeping.save(place, made, signer, replace=arguments.force)
    _tell(place, made)
    return place


def _tell(place: Place, made: Issued) -> None:
    until = made.certificate.not_valid_after_utc
    print(f"{place.certificate} and {place.key}, good until {until:%Y-%m-%d %H:%M} UTC")


def _tell_server(place: Place, trusted: Path, name: str) -> None:
    endpoint = f"protosuite-tls:5501:interface=127.0.0.1:cert={_quoted(place.certificate)}"
    print("in suite.ini:")
    print(f"listen = {endpoint}:key={_quoted(place.key)}")
    print("a client that trusts it, here of a chat log that listens so:")
    print(f"SSL_CERT_FILE={trusted} protosuite-chatlog --tls --host {name} --port 5501 main", flush=True)


def _place(folder: Path, name: str) -> Place:
    from protosuite.cert.keeping import Place

    return Place(folder.absolute(), name)


def _quoted(path: Path) -> str:
    return str(quoteStringArgument(str(path)))


def _now() -> datetime:
    return datetime.now(UTC)
