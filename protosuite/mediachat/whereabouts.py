"""Which clients are connected to other nodes. The fabric knows, and forgets a node that is silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from protosuite.fabric import Fabric
from protosuite.fabric.interface import Away

_TOPIC = "mediachat.here."
_GROUPS = 32  # whose chats are asked for together: one that comes or goes costs a look at that part of all


class Whereabouts:
    """A listener of the fabric while somebody here wants to know of everybody who comes and goes.

    `changed` is told the chat whose client has. Otherwise the fabric is asked when somebody asks here. Where
    it cannot tell, what was known last counts.
    """

    def __init__(
        self,
        fabric: Fabric,
        changed: Callable[[int], None],
        failed: Callable[[str, Failure], None],
    ) -> None:
        self._fabric = fabric
        self._changed = changed
        self._failed = failed
        self._elsewhere: dict[int, Counter[int]] = {}  # by group: connections of each chat to other nodes
        self._is_on = False
        self._known: set[int] = set()  # groups that the fabric has told of since that
        self._asking: dict[int, bool] = {}  # groups it is asked for now, and whether to ask once more

    def count(self, chat_id: int) -> int:
        """With how many connections a client is at other nodes, as far as is known."""
        return self._elsewhere.get(_group(chat_id), _NOBODY)[chat_id]

    async def look(self, chat_ids: Iterable[int]) -> None:
        """Find out for these chats. Never fails."""
        groups = {_group(id) for id in chat_ids}
        await gatherResults([self._ask(group) for group in groups - self._known])

    # What happens here.

    def entered(self, chat_id: int, count: int) -> None:
        """A client has come with one more connection, and has `count` here now."""
        self._fabric.enter(_name(_group(chat_id)), f"{chat_id}.{count}")

    def departed(self, chat_id: int, count: int) -> None:
        """One of its connections is gone, and `count` are left here."""
        self._fabric.leave(_name(_group(chat_id)), f"{chat_id}.{count + 1}")

    def begin(self) -> None:
        """Somebody wants to be told."""
        if not self._is_on:
            self._is_on = True
            for group in range(_GROUPS):
                self._fabric.subscribe(_name(group), self)

    def end(self) -> None:
        """Nobody does any more."""
        if self._is_on:
            self._is_on = False
            for group in range(_GROUPS):
                self._fabric.unsubscribe(_name(group), self)
        self._known.clear()

    # A listener of the fabric.

    def woken(self, topic: str, number: int) -> None:
        """Somebody has come or gone elsewhere."""
        group = int(topic.removeprefix(_TOPIC))
        if group in self._asking:
            self._asking[group] = True
        else:
            self._asking[group] = False
            self._ask(group).addCallback(self._asked, group)

    def catch_up(self, topics: Collection[str]) -> None:
        """Somebody may have, or a node that was silent is forgotten."""
        for topic in topics:
            self.woken(topic, 0)

    def _asked(self, _: None, group: int) -> None:
        if self._asking.pop(group) and self._is_on:
            self.woken(_name(group), 0)

    def _ask(self, group: int) -> Deferred[None]:
        asking = self._fabric.present(_name(group))
        return asking.addCallbacks(self._found, self._not_found, callbackArgs=(group,), errbackArgs=(group,))

    def _found(self, found: Mapping[str, frozenset[str]], group: int) -> None:
        now: Counter[int] = Counter()
        for who, nodes in found.items():
            chat_id = who.partition(".")[0]
            if chat_id.isdecimal() and (count := len(nodes - {self._fabric.node})):
                now[int(chat_id)] += count
        before, self._elsewhere[group] = self._elsewhere.get(group, _NOBODY), now
        if self._is_on:
            self._known.add(group)
            for id in before.keys() | now.keys():
                if before[id] != now[id]:
                    self._changed(id)

    def _not_found(self, failure: Failure, group: int) -> None:
        if not failure.check(Away):
            self._failed("who is connected elsewhere cannot be found", failure)


_NOBODY: Counter[int] = Counter()


def _group(chat_id: int) -> int:
    return chat_id % _GROUPS


def _name(group: int) -> str:
    """Of its topic, and of its group of the fabric."""
    return f"{_TOPIC}{group}"
