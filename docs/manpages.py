"""Man pages of the programs, from the parsers that print ``--help``: ``python docs/manpages.py FOLDER``."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import protosuite

sys.path.insert(0, str(Path(__file__).parent))
from commandlines import PROGRAMS, parser_of


def page(name: str) -> str:
    """The page of a program, in the macros of man(7)."""
    return "\n".join(lines(name, parser_of(name))) + "\n"


def lines(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Its lines."""
    yield f'.TH {name.upper()} 1 "" "protosuite {protosuite.__version__}" "protosuite"'
    description = text(parser.description or "")
    yield from (".SH NAME", f"{text(name)} \\- {first_sentence(description)}")
    yield from (".SH SYNOPSIS", ".nh", ".ad l", usage(parser), ".ad b", ".hy")
    yield from (".SH DESCRIPTION", description)
    commands = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    yield from section(parser)
    for action in commands:
        said = {choice.dest: choice.help for choice in action._choices_actions}
        yield ".SH COMMANDS"
        for command, its in action.choices.items():
            yield from (f".SS {text(command)}", f"{text(said.get(command) or '')}.")
            yield from (".PP", ".nh", ".ad l", usage(its), ".ad b", ".hy")
            yield from options(its)
    if parser.epilog:
        _, _, examples = parser.epilog.partition("\n")
        yield from (".SH EXAMPLES", ".nf", *(text(line.strip()) for line in examples.splitlines()), ".fi")
    yield from (".SH EXIT STATUS", "0 if all went well, 1 if it failed, 2 for a wrong command line;")
    yield "128 and the number of the signal if one ended it."


def section(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What can be said of a parser itself."""
    found = list(options(parser))
    if found:
        yield from (".SH OPTIONS", *found)


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Its arguments and options, with what each is for."""
    formatter = parser._get_formatter()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help is argparse.SUPPRESS:
            continue
        metavar = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
        if action.option_strings:
            terms = [f"\\fB{text(each)}\\fR" for each in action.option_strings]
            term = ", ".join(terms) + (f" \\fI{text(metavar)}\\fR" if metavar and action.nargs != 0 else "")
        else:
            term = f"\\fI{text(str(action.metavar or action.dest))}\\fR"
        help = formatter._expand_help(action) if action.help else ""
        yield from (".TP", term, text(help) or "\\&")


def usage(parser: argparse.ArgumentParser) -> str:
    """How it is called, without the first word."""
    return text(re.sub(r"\s+", " ", parser.format_usage().removeprefix("usage: ")).strip())


def first_sentence(description: str) -> str:
    """In the form that a list of pages has."""
    sentence = re.split(r"[.:;] ", description, maxsplit=1)[0].removesuffix(".")
    return sentence[:1].lower() + sentence[1:]


def text(words: str) -> str:
    """Nothing in it is a request or an escape."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-").replace("\n", " ")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main(folder: Path) -> None:
    """Write all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        (folder / f"{name}.1").write_text(page(name), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
