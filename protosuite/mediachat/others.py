"""What the other nodes are told of this one, and it hears of them: over the fabric, as hints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from typing import Protocol as Interface

from twisted.python.failure import Failure

from protosuite.fabric import Fabric
from protosuite.mediachat import following
from protosuite.mediachat.cuts import Cuts
from protosuite.mediachat.following import Following
from protosuite.mediachat.hearing import Hearing, Listening
from protosuite.mediachat.tables import Message
from protosuite.mediachat.whereabouts import Whereabouts


class Audience(following.Audience, Interface):
    """The consoles here."""

    def tell_presence(self, chat_id: int) -> None:
        """A client has come or gone."""


class Others:
    """The other nodes, as a service sees them. `talks` are the connections of clients here, by chat."""

    def __init__(
        self,
        cuts: Cuts,
        fabric: Fabric,
        reactor: Any,
        talks: Mapping[int, Iterable[Listening]],
        desks: Audience,
        failed: Callable[[str, Failure], None],
    ) -> None:
        self.whereabouts = Whereabouts(fabric, desks.tell_presence, failed)
        self.following = Following(cuts, fabric, reactor, desks, failed)
        self._hearing = Hearing(cuts, fabric, talks, failed)
        self._desks = desks

    def entered(self, chat_id: int, count: int) -> None:
        """A client has come with one more connection, the `count`-th here. Its chat may be new."""
        if count == 1:
            self._hearing.begin(chat_id)
        self.whereabouts.entered(chat_id, count)
        self._desks.tell_presence(chat_id)
        self.changed()

    def departed(self, chat_id: int, count: int) -> None:
        """One connection of a client is gone; `count` are left."""
        if count == 0:
            self._hearing.end(chat_id)
        self.whereabouts.departed(chat_id, count)
        self._desks.tell_presence(chat_id)

    def added(self, message: Message) -> None:
        """This node has stored a message."""
        if message.sender == "desk":
            self._hearing.said(message.chat_id, message.id)
        self.changed()

    def changed(self) -> None:
        """This node has stored something."""
        self.following.stored()

    def desk_entered(self) -> None:
        """A console is here, and waits to be welcomed."""
        self.whereabouts.begin()
        if self.following.is_current:
            self._desks.followed()
        else:
            self.following.begin()

    def desks_departed(self) -> None:
        """The last console is gone, or the service stops: nothing more is told here."""
        self.whereabouts.end()
        self.following.end()
