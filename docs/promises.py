"""The page of promises: `promises.toml`, with the tests that show each of them."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parent.parent
LIST = ROOT / "docs" / "promises.toml"
TESTS = ("protosuite/test", "tests")

_NUMBERS = re.compile(r"(R\d+(?:(?:, | and |/)R\d+)*): *(.*)", re.DOTALL)

Shown = tuple[str, str]  # a test, and the sentence that says what it holds

log = logging.getLogger(__name__)


class Promises(SphinxDirective):
    """Every promise with its tests. One that nothing shows is a warning, and so is an unknown number."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(LIST))
        groups = tomllib.loads(LIST.read_text("utf-8"))["group"]
        shown = tests_by_number()
        known = {promise["number"] for group in groups for promise in group["promise"]}
        for number in sorted(set(shown) - known):
            log.warning("R%d is no promise, and %s shows it", number, shown[number][0][0])
        return self.parse_text_to_nodes("\n".join(_lines(groups, shown)), allow_section_headings=True)


def _lines(groups: list[dict], shown: dict[int, list[Shown]]) -> Iterator[str]:
    for group in groups:
        yield from (group["title"], "-" * len(group["title"]), "")
        for promise in group["promise"]:
            number = promise["number"]
            yield from (f".. _promise-{number}:", "", f"**R{number}** {promise['says']}", "")
            if "later" in promise:
                yield from (f"   *Not shown yet: {promise['later']}.*", "")
                continue
            if number not in shown:
                log.warning("no test shows R%d", number)
            for test, sentence in shown.get(number, ()):
                yield from (f"   - ``{test}``", f"     {sentence}")
            if "by_hand" in promise:
                yield f"   - ``{promise['by_hand']}``, by hand: more of it, for longer."
            yield ""


def tests_by_number() -> dict[int, list[Shown]]:
    """The tests that carry each number, which their docstrings begin with: ``R1, R3: what holds``."""
    found: dict[int, list[Shown]] = defaultdict(list)
    for folder in TESTS:
        for path in sorted((ROOT / folder).rglob("test_*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for name, docstring in _docstrings(ast.parse(path.read_text("utf-8"))):
                match = _NUMBERS.match(docstring)
                if match is not None:
                    sentence = re.sub(r"\s+", " ", match[2]).replace("*", r"\*").replace("`", "")
                    for number in re.findall(r"\d+", match[1]):
                        found[int(number)].append((f"{module}.{name}", sentence.strip()))
    return found


def _docstrings(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Of the module's test classes and their tests. One of the class stands for all of its tests."""
    for cls in module.body:
        if not isinstance(cls, ast.ClassDef):
            continue
        yield cls.name, ast.get_docstring(cls) or ""
        for test in cls.body:
            if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith("test"):
                yield f"{cls.name}.{test.name}", ast.get_docstring(test) or ""
