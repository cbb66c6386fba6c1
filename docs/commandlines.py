"""The programs' command lines, as each of them tells with ``--help``, with the commands behind it."""

import argparse
import importlib
import os
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from unittest.mock import patch

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

WIDTH = "80"  # columns
_SETUP = ConfigParser()
_SETUP.read(Path(__file__).parent.parent / "setup.cfg", "utf-8")
PROGRAMS = {  # with the module of each; read there, for an editable install may be older
    name.strip(): target.partition(":")[0].strip()
    for name, _, target in (
        line.partition("=") for line in _SETUP["options.entry_points"]["console_scripts"].strip().splitlines()
    )
}


class CommandLine(SphinxDirective):
    """What a program says to ``--help``, and then each of its commands."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        text = "\n".join(helps(self.arguments[0]))
        block = nodes.literal_block(text, text)
        block["language"] = "none"
        return [block]


def helps(name: str) -> Iterator[str]:
    """The texts of a program of ours, or of ``twistd protosuite``."""
    with patch.dict(os.environ, {"COLUMNS": WIDTH}):
        if name == "twistd protosuite":
            from protosuite.tap import Options

            yield Options().getUsage(int(WIDTH)).strip()
            return
        parser = parser_of(name)
        yield parser.format_help()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    yield command.format_help()


class _Caught(BaseException):
    pass


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a program, caught when it is about to read a command line."""
    caught: list[argparse.ArgumentParser] = []

    def catch(parser: argparse.ArgumentParser, *_: object) -> None:
        caught.append(parser)
        raise _Caught

    with patch.object(argparse.ArgumentParser, "parse_args", catch):
        try:
            importlib.import_module(PROGRAMS[name]).main([])
        except _Caught:
            return caught[0]
    raise LookupError(f"{name} reads no command line")
