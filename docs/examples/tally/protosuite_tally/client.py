"""The client of tally/1, and the program ``protosuite-tally``."""

from __future__ import annotations

import argparse
import os
from collections import deque
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure


class Refused(Exception):
    """The server said why it does not."""


class TallyClient(LineOnlyReceiver):
    """One connection: requests are answered in order."""

    delimiter = b"\n"

    def __init__(self, token: str | None = None) -> None:
        self._token = token
        self._asked: deque[tuple[bool, Deferred[dict[str, int]]]] = deque()
        self._votes: dict[str, int] = {}

    def connectionMade(self) -> None:
        if self._token:
            self.sendLine(f"token {self._token}".encode("ascii"))

    def vote(self, choice: str) -> Deferred[dict[str, int]]:
        """Vote; the choice with its votes."""
        return self._ask(f"vote {choice}", is_vote=True)

    def show(self) -> Deferred[dict[str, int]]:
        """All choices with their votes."""
        return self._ask("show", is_vote=False)

    def _ask(self, line: str, *, is_vote: bool) -> Deferred[dict[str, int]]:
        answer: Deferred[dict[str, int]] = Deferred()
        self._asked.append((is_vote, answer))
        self.sendLine(line.encode("ascii"))
        return answer

    def lineReceived(self, line: bytes) -> None:
        word, *words = line.decode("ascii").split(" ")
        if word == "error":
            self._fail(Refused(" ".join(words)))
            return
        if word == "votes":
            self._votes[words[0]] = int(words[1])
        if self._asked and (word == "end" or self._asked[0][0]):
            votes, self._votes = self._votes, {}
            self._asked.popleft()[1].callback(votes)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail(ConnectionError("the connection was lost"))

    def _fail(self, error: Exception) -> None:
        while self._asked:
            self._asked.popleft()[1].errback(error)


async def _ask(reactor: Any, arguments: argparse.Namespace) -> None:
    endpoint = TCP4ClientEndpoint(reactor, arguments.host, arguments.port, timeout=10)
    token = os.environ.get("PROTOSUITE_TOKEN")
    try:
        factory: Any = Factory.forProtocol(lambda: TallyClient(token))
        client: Any = await endpoint.connect(factory)
        votes = await (client.show() if arguments.choice is None else client.vote(arguments.choice))
    except Exception as error:
        raise SystemExit(f"protosuite-tally: {error}") from None
    for choice, count in votes.items():
        print(choice, count, flush=True)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="protosuite-tally", description="Vote, and see the votes.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("vote").add_argument("choice")
    commands.add_parser("show").set_defaults(choice=None)
    arguments = parser.parse_args()
    task.react(lambda reactor: Deferred.fromCoroutine(_ask(reactor, arguments)))
