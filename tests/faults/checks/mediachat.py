"""The media chat: what was saved is there, as it was sent, once; no file is lost, and none left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from attrs import frozen

from tests.faults.checks import require


@frozen
class Row:
    """A message as it is stored. `client` is the number that the client has, not its chat's."""

    id: int
    client: int
    sender: str
    kind: str
    status: str
    text: str | None = None
    name: str | None = None
    size: int | None = None
    sha256: str | None = None


@frozen
class Said:
    """A message before it has an id. What it says, or its name, is its own."""

    client: int
    sender: str
    text: str | None = None
    name: str | None = None
    size: int | None = None
    sha256: str | None = None


class ChatsCheck:
    """What clients and the desk said, what they were told of it, and what came to the clients."""

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}  # by text or name
        self._order: dict[str, int] = {}  # in which the texts of clients were said
        self._saved: dict[str, int] = {}
        self._received: dict[int, list[int]] = {}  # ids, by client

    def said(self, said: Said) -> str:
        """Something is said now; its name in what follows."""
        word = str(said.text or said.name)
        require(word not in self._said, f"{word} was said before: this is the check's own fault")
        self._order[word] = len(self._said)
        self._said[word] = said
        return word

    def saved(self, word: str, id: int) -> None:
        """It was said to be saved."""
        known = self._saved.setdefault(word, id)
        require(known == id, f"mediachat: {word!r} is message {known} and message {id}")

    def received(self, client: int, id: int, word: str) -> None:
        """A client was given a message of the desk."""
        said = self._said.get(word)
        require(
            said is not None and said.sender == "desk" and said.client == client,
            f"mediachat: client {client} was given {word!r}, which the desk did not say to it",
        )
        ids = self._received.setdefault(client, [])
        last = ids[-1] if ids else 0
        require(id > last, f"mediachat: client {client} was given message {id} behind message {last}")
        ids.append(id)

    def received_by(self, client: int) -> int:
        """The last message that a client was given."""
        return (self._received.get(client) or [0])[-1]

    def settle(
        self, rows: Iterable[Row], files: Mapping[str, str], parts: int, quota: int | None = None
    ) -> None:
        """Hold all that against what is stored.

        `files` are the hashes of what is in them by the hashes that their names say, `parts` the number of
        files that are not complete, after a sweep that took all it may take; `quota` is in bytes a chat.
        """
        rows = list(rows)
        self._rows(rows)
        needed = {row.sha256 for row in rows if row.sha256 is not None}
        require(needed <= files.keys(), f"mediachat: files are missing: {needed - files.keys()}")
        require(
            files.keys() <= needed, f"mediachat: files are left that no message has: {files.keys() - needed}"
        )
        for name, found in files.items():
            require(name == found, f"mediachat: the file {name} has the hash {found}")
        require(parts == 0, f"mediachat: {parts} parts are left")
        used: Counter[int] = Counter()
        for row in rows:
            used[row.client] += row.size or 0
        for client, size in used.items():
            require(quota is None or size <= quota, f"mediachat: client {client} has {size} bytes of {quota}")

    def _rows(self, rows: list[Row]) -> None:
        stored: dict[str, Row] = {}
        last: dict[int, int] = {}
        for row in rows:
            word = str(row.text or row.name)
            require(word in self._said, f"mediachat: message {row.id} is what nobody said: {row}")
            require(word not in stored, f"mediachat: {word!r} is stored twice")
            stored[word] = row
            said = self._said[word]
            found = Said(row.client, row.sender, row.text, row.name, row.size, row.sha256)
            require(found == said, f"mediachat: message {row.id} is {found} and not {said}")
            require(row.status == "saved", f"mediachat: message {row.id} is {row.status}")
            if row.sender == "client" and row.kind == "text":
                require(
                    self._order[word] > last.get(row.client, -1),
                    f"mediachat: {word!r} is stored out of turn",
                )
                last[row.client] = self._order[word]
        for word, id in self._saved.items():
            found_id = stored[word].id if word in stored else None
            require(
                found_id == id,
                f"mediachat: {word!r} was saved as message {id} and is stored as {found_id}",
            )
        self._deliveries(rows)

    def _deliveries(self, rows: list[Row]) -> None:
        """Every client that listened was given all that the desk said to it."""
        desk: dict[int, list[int]] = {}
        for row in rows:
            if row.sender == "desk":
                desk.setdefault(row.client, []).append(row.id)
        for client, ids in self._received.items():
            require(
                ids == desk.get(client, []),
                f"mediachat: client {client} was given {len(ids)} messages of the desk, not"
                f" {len(desk.get(client, []))}: {set(ids) ^ set(desk.get(client, []))}",
            )
