"""``protosuite-counter``: add to the counter, read it, or put a load on it."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from typing import Any, NoReturn

from protosuite import program, reaching
from protosuite.counter.client import CounterClientFactory
from protosuite.counter.load import CounterLoad
from protosuite.counter.wire import MAX
from protosuite.errors import OutcomeUnknown

NAME = "protosuite-counter"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the program."""
    parser = program.parser(
        NAME, "Add to a counter that everybody shares, read it, or put a load on it.", f"{NAME} add 1 10 255"
    )
    reaching.add_server(parser, 8080)
    reaching.add_timeout(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="add each N and print the counter after it")
    add.add_argument("amounts", metavar="N", nargs="+", type=_amount)
    commands.add_parser("get", help="print the counter")
    load = commands.add_parser(
        "load", help="add 1 as fast as the server answers, and print how fast that was"
    )
    program.add_load(load)
    arguments = parser.parse_args(argv)
    program.run(NAME, _load if arguments.command == "load" else _add, arguments)


def _amount(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= MAX):
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 to {MAX}")
    return int(text)


def _client(reactor: Any, arguments: Namespace) -> CounterClientFactory:
    factory = CounterClientFactory(reactor, on_status=program.say)
    reaching.connect(reactor, arguments, factory)
    return factory


async def _ask(reactor: Any, arguments: Namespace, factory: CounterClientFactory, amount: int) -> int:
    """One increment, within the time that the person has."""
    try:
        return await reaching.within(reactor, arguments, factory.increment(amount))
    except OutcomeUnknown as error:
        raise program.Failed(
            f"{error}: {amount} may or may not have counted (a counter that would pass {MAX} also closes)"
        ) from None


async def _add(reactor: Any, arguments: Namespace) -> int:
    factory = _client(reactor, arguments)
    try:
        for amount in arguments.amounts if arguments.command == "add" else [0]:
            total = await _ask(reactor, arguments, factory, amount)
            program.put(json.dumps({"added": amount, "total": total}) if arguments.json else str(total))
    finally:
        factory.close()
    return program.EXIT_OK


async def _load(reactor: Any, arguments: Namespace) -> int:
    before = await _total(reactor, arguments)
    report = await program.run_load(reactor, arguments, CounterLoad)
    after = await _total(reactor, arguments)
    if arguments.json:
        program.put(json.dumps({**report.fields(), "before": before, "after": after}))
    else:
        program.put(f"{report}\ncounter before {before}, after {after}")
    if report.errors:
        raise program.Failed(report.errors[0])
    if after - before != report.requests:
        raise program.Failed(
            f"the counter rose by {after - before}, and {report.requests} were added: "
            "others add to it too, or it is wrong"
        )
    return program.EXIT_OK


async def _total(reactor: Any, arguments: Namespace) -> int:
    """The counter now, over a connection of its own: one that idles through a load could be cut."""
    factory = _client(reactor, arguments)
    try:
        return await _ask(reactor, arguments, factory, 0)
    finally:
        factory.close()
