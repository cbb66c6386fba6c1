"""Runs one load: ``python -m benchmarks.loads NAME OPTIONS``, OPTIONS an object of JSON.

With ``--wait`` it says ``ready`` when it has connected, and begins when it is sent a line.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from benchmarks.loads.asking import Asking, Conversation
from benchmarks.loads.chats import Appends, SharedAppends, Texts
from benchmarks.loads.counter import Increments, frame
from benchmarks.loads.counter import total as counter_total
from benchmarks.loads.echo import Echoes
from benchmarks.loads.files import Transfers, download, upload
from benchmarks.loads.idling import Idling
from benchmarks.loads.measuring import Report, WrongAnswer
from benchmarks.loads.redis import XAdd, command
from benchmarks.loads.redis import total as redis_total
from benchmarks.loads.singles import Singles
from benchmarks.loads.spreading import Spread, Spreading
from benchmarks.loads.streams import Streams

Options = Mapping[str, Any]

CONVERSATIONS: dict[str, type[Conversation]] = {
    "appends": Appends,
    "echoes": Echoes,
    "increments": Increments,
    "redis-xadd": XAdd,
    "shared-appends": SharedAppends,
    "texts": Texts,
}


# Of loads of one request at a time, what is asked, how the total is found in an answer, and whose it is.
SINGLES = {
    "increments": (frame(1), counter_total, "the counter"),
    "redis-incrby": (command(b"INCRBY", b"c", b"1"), redis_total, "Redis"),
}


class Load(Interface):
    """It has connected, and begins when it is run."""

    def run(self) -> Report:
        """What it got."""


def _asking(name: str, options: Options) -> Load:
    numbers = range(options["first"], options["first"] + options["connections"])
    conversations = [CONVERSATIONS[name](options, number) for number in numbers]
    return Asking(options["port"], conversations, options["seconds"])


def _singles(name: str, options: Options) -> Load:
    return Singles(options["port"], options["connections"], options["seconds"], *SINGLES[name])


def _increments(name: str, options: Options) -> Load:
    return (_singles if options["depth"] == 1 else _asking)(name, options)


def _spreading(name: str, options: Options) -> Load:
    from benchmarks.loads.spreads import Channel, Room, Topic  # protobuf takes its time

    spreads: dict[str, type[Spread]] = {"channel": Channel, "room": Room, "topic": Topic}
    spread = spreads[name](options)
    return Spreading(spread, options["readers"], options["window"], options["seconds"])


def _following(_: str, options: Options) -> Load:
    from benchmarks.loads.following import Following
    from benchmarks.loads.spreads import Room

    return Following(Room(options), options["readers"], options["seconds"])


def _uploads(_: str, options: Options) -> Load:
    numbers = range(options["first"], options["first"] + options["connections"])
    return Transfers([upload(options["port"], number, options["size"]) for number in numbers])


def _downloads(_: str, options: Options) -> Load:
    source = Path(options["source"])
    return Transfers([download(options["port"], path, source) for path in options["paths"]])


def _streams(_: str, options: Options) -> Load:
    return Streams(options["port"], options["streams"], options.get("name", "load"))


def _idling(_: str, options: Options) -> Load:
    return Idling(
        options["port"],
        options["connections"],
        options["seconds"],
        options["path"],
        options.get("greeting"),
    )


LOADS: dict[str, Callable[[str, Options], Load]] = {
    **dict.fromkeys(CONVERSATIONS, _asking),
    "increments": _increments,
    "redis-incrby": _singles,
    **dict.fromkeys(("channel", "room", "topic"), _spreading),
    "following": _following,
    "uploads": _uploads,
    "downloads": _downloads,
    "streams": _streams,
    "idle": _idling,
}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loads", description=__doc__)
    parser.add_argument("name", choices=sorted(LOADS))
    parser.add_argument("options", type=json.loads)
    parser.add_argument("--wait", action="store_true", help="begin when a line comes")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        load = LOADS[arguments.name](arguments.name, arguments.options)
        if arguments.wait:
            print("ready", flush=True)
            sys.stdin.readline()
        print(json.dumps(load.run().fields()))
    except (WrongAnswer, OSError) as error:
        print(f"{arguments.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
