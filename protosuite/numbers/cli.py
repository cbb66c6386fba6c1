"""``protosuite-numbers``: receive a stream of numbers and print its sum."""

from __future__ import annotations

import json
import secrets
import shlex
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from attrs import asdict
from tqdm import tqdm
from twisted.internet.threads import deferToThread

from protosuite import program, reaching
from protosuite.errors import PeerFault, ServerRefused
from protosuite.numbers.client import NumbersClientFactory, Result, StateFile
from protosuite.numbers.sequence import Progress
from protosuite.numbers.wire import MAX_INDEX, is_client_id

NAME = "protosuite-numbers"
PORT = 5500
_ADVICE = {
    "expired": "start anew with another --client, or remove the state file",
    "superseded": "another program uses this client id",
    "diverged": "start anew with another --client, or remove the state file",
    "out-of-range": "start anew with another --client, or remove the state file",
    "unauthenticated": reaching.NO_GOOD_TOKEN,
    "forbidden": "give the subject of the token as --client",
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the program."""
    parser = program.parser(
        NAME,
        "Receive a stream of random numbers, however often the connection drops, and print its verified sum.",
        f"{NAME} --client ana --max 10 --state ana.json",
    )
    reaching.add_server(parser, PORT)
    reaching.add_token(parser)
    parser.add_argument(
        "--client", metavar="ID", type=_client, help="who one is; the same id resumes its stream"
    )
    parser.add_argument("--max", metavar="N", type=program.bounded(1, MAX_INDEX), help="at most N numbers")
    parser.add_argument(
        "--state",
        metavar="FILE",
        type=Path,
        help="keep the progress in FILE and resume from it, even after a kill",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    arguments = parser.parse_args(argv)
    Receiving(arguments).run()


def _client(text: str) -> str:
    if not is_client_id(text):
        raise ArgumentTypeError(f"{text!r} is not 1 to 64 of A-Z a-z 0-9 . _ -")
    return text


def _sentence(result: Result) -> str:
    return (
        f"sum {result.sum} of {result.count} numbers, checksum 0x{result.checksum:08x} verified, "
        f"{result.reconnects} reconnects"
    )


class Receiving:
    """One run of the program: what the person sees of it."""

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._state = StateFile(arguments.state) if arguments.state else None
        self._factory: NumbersClientFactory | None = None
        self._bar: tqdm[Any] | None = None

    def run(self) -> NoReturn:
        """Receive the stream; ends the program."""
        program.run(NAME, self._receive, self._arguments, self._interrupted)

    async def _receive(self, reactor: Any, arguments: Namespace) -> int:
        client, progress = self._identity()
        self._factory = factory = NumbersClientFactory(
            client,
            reactor,
            max=arguments.max,
            token=reaching.token(arguments),
            progress=progress,
            state=self._state,
            run_in_thread=deferToThread,
            on_status=self._say,
            on_progress=self._show,
        )
        reaching.connect(reactor, arguments, factory)
        try:
            result = await factory.result
        except (ServerRefused, PeerFault) as error:
            raise program.Failed(self._explain(error)) from None
        except OSError as error:
            raise program.Failed(f"cannot keep the progress in {arguments.state}: {error.strerror}") from None
        finally:
            self._close_bar()
        program.put(json.dumps(asdict(result)) if arguments.json else _sentence(result))
        return program.EXIT_OK

    def _identity(self) -> tuple[str, Progress]:
        """Whose stream it is and where it goes on: by the state file, the command line, or by chance."""
        wanted = self._arguments.client
        try:
            found = self._state.load() if self._state else None
        except ValueError as error:
            raise program.Failed(str(error)) from None
        except OSError as error:
            raise program.Failed(f"cannot read {self._arguments.state}: {error.strerror}") from None
        if found is not None:
            client, progress = found
            if wanted not in (None, client):
                raise program.Failed(f"{self._arguments.state} is of client {client}, not {wanted}")
            program.say(f"resuming the stream of client {client} at number {progress.next}")
            return client, progress
        if wanted is None:
            wanted = secrets.token_hex(6)
            program.say(f"client id {wanted}; to get this stream again: {self._command(wanted)}")
        return wanted, Progress()

    def _command(self, client: str) -> str:
        """What one types to go on with the stream of `client`."""
        given = self._arguments
        options = {
            "--host": given.host if given.host != reaching.HOST else None,
            "--port": given.port if given.port != PORT else None,
            "--client": client,
            "--state": given.state,
            "--token-file": given.token_file,
        }
        words = (word for name, value in options.items() if value is not None for word in (name, str(value)))
        return shlex.join([NAME, *words])

    def _show(self, progress: Progress, count: int) -> None:
        if self._bar is None:
            tqdm.monitor_interval = 0  # no thread of its own
            self._bar = tqdm(
                total=count,
                file=sys.stderr,
                disable=None,  # where standard error is no terminal
                bar_format="{n_fmt}/{total_fmt} |{bar}| {postfix}",
            )
        assert self._factory is not None
        self._bar.n = progress.next
        self._bar.set_postfix_str(f"sum {progress.sum}, {self._factory.reconnects} reconnects")

    def _say(self, text: str) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            program.say(text)

    def _explain(self, error: ServerRefused | PeerFault) -> str:
        advice = _ADVICE.get(error.code)
        return program.shown(str(error)) + (f" ({advice})" if advice else "")

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _interrupted(self) -> None:
        self._close_bar()
        if self._factory is not None:
            # In the reactor's turn: the signal may have come in the midst of what the factory does.
            self._factory.clock.callFromThread(self._factory.stop)
            done = self._factory.progress.next
            program.say(f"interrupted after {done} numbers; to go on: {self._command(self._factory.client)}")
