"""Topics, patterns, and which of them match; and what else an event may be called. Pure.

A topic is words of ``A-Za-z0-9_-`` joined by dots; in a pattern ``*`` stands for one word and ``#`` for
any number of them, none included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, TypeVar

from protosuite.errors import BadRequest

MAX_TOPIC = 255  # bytes
MAX_CONTENT_TYPE = 255  # characters
_TOPIC = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_PATTERN = re.compile(r"(?:[A-Za-z0-9_-]+|\*|#)(?:\.(?:[A-Za-z0-9_-]+|\*|#))*")

V = TypeVar("V")


def check_topic(topic: str) -> None:
    """Raise :exc:`BadRequest` if `topic` is none."""
    if len(topic) > MAX_TOPIC or not _TOPIC.fullmatch(topic):
        raise BadRequest(
            "bad-topic", f"a topic is words of A-Z a-z 0-9 _ - joined by dots, {MAX_TOPIC} bytes at most"
        )


def check_pattern(pattern: str) -> None:
    """Raise :exc:`BadRequest` if `pattern` is none."""
    if len(pattern) > MAX_TOPIC or not _PATTERN.fullmatch(pattern):
        raise BadRequest(
            "bad-pattern", f"a pattern is a topic whose words may also be * or #, {MAX_TOPIC} bytes at most"
        )


def check_content_type(content_type: str) -> None:
    """Raise :exc:`BadRequest` if `content_type`, which may be empty, is more than says what a payload is."""
    if len(content_type) > MAX_CONTENT_TYPE or not content_type.isprintable():
        text = f"a content type is printable, and has {MAX_CONTENT_TYPE} characters at most"
        raise BadRequest("bad-content-type", text)


class _Node(Generic[V]):
    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[V]] = {}
        self.values: dict[V, None] = {}  # a set that keeps the order of arrival

    @property
    def is_empty(self) -> bool:
        return not self.children and not self.values


class Trie(Generic[V]):
    """Values under patterns (or topics), found by what matches.

    Finding costs time with the words of what is looked for and the distinct prefixes that match it,
    whatever the number of values elsewhere.
    """

    def __init__(self) -> None:
        self._root: _Node[V] = _Node()

    def add(self, pattern: str, value: V) -> None:
        """Put `value` under `pattern`."""
        node = self._root
        for word in pattern.split("."):
            node = node.children.setdefault(word, _Node())
        node.values[value] = None

    def remove(self, pattern: str, value: V) -> None:
        """Take `value` away from under `pattern`, and every node that is empty then."""
        path = [self._root]
        words = pattern.split(".")
        for word in words:
            path.append(path[-1].children[word])
        del path[-1].values[value]
        for parent, word, node in reversed(list(zip(path, words, path[1:], strict=False))):
            if node.is_empty:
                del parent.children[word]

    def matching(self, topic: str) -> Iterator[V]:
        """The values under every pattern that matches `topic`."""
        # All places in the trie that the words so far can lead to, as a machine without backtracking.
        places = _with_hashes({self._root: False})
        for word in topic.split("."):
            after: dict[_Node[V], bool] = {}
            for node, is_hash in places.items():
                for branch in (word, "*"):
                    if (child := node.children.get(branch)) is not None:
                        after.setdefault(child, False)
                if is_hash:
                    after[node] = True  # a # takes one word more
            places = _with_hashes(after)
        for node in places:
            yield from node.values

    def under(self, pattern: str) -> Iterator[V]:
        """The values under every topic that `pattern` matches, where topics were added."""
        places: dict[_Node[V], None] = {self._root: None}
        for word in pattern.split("."):
            if word == "#":
                places = _with_below(places)
                continue
            after: dict[_Node[V], None] = {}
            for node in places:
                if word == "*":
                    after.update(dict.fromkeys(node.children.values()))
                elif (child := node.children.get(word)) is not None:
                    after[child] = None
            places = after
        for node in places:
            yield from node.values


def _with_hashes(places: dict[_Node[V], bool]) -> dict[_Node[V], bool]:
    """`places`, and the ``#`` behind each: it may stand for no word at all. The value marks those."""
    waiting = list(places)
    while waiting:
        child = waiting.pop().children.get("#")
        if child is not None and child not in places:
            waiting.append(child)
            places[child] = True
    return places


def _with_below(places: dict[_Node[V], None]) -> dict[_Node[V], None]:
    """`places` and all nodes below them, each once."""
    found = dict(places)
    waiting = list(places)
    while waiting:
        for child in waiting.pop().children.values():
            if child not in found:
                found[child] = None
                waiting.append(child)
    return found
