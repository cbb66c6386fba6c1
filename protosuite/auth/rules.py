"""Who may do what: the roles, and the one table. The documentation shows it from here. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum

from attrs import frozen

from protosuite.errors import Forbidden

CLIENT = "client"  # somebody who uses the services, as nobody but themselves
OPERATOR = "operator"  # somebody who answers, and looks after the suite
SERVICE = "service"  # a program that is trusted as the suite itself is
ROLES = (CLIENT, OPERATOR, SERVICE)

# What the suite itself says on the bus: nobody else may say it in its place.
OWN_TOPICS = ("numbers", "counter", "chatlog", "mediachat", "suite")


class Action(Enum):
    """What can be asked of a service, and what it is asked about: the resource of :func:`check`."""

    NUMBERS_START = "receive the stream of a client id"
    BUS_ASK = "echo and add"
    BUS_PUBLISH = "publish to a topic"
    BUS_SUBSCRIBE = "subscribe to topics, and delete durable subscriptions"
    CHATLOG_READ = "read a room"
    CHATLOG_APPEND = "append to a room as an author"
    MEDIACHAT_TALK = "talk as a client id"
    MEDIACHAT_READ = "read the messages and media of a client id's chat"
    MEDIACHAT_DESK = "answer clients: the console, all chats, posting"
    ADMIN = "see the suite's state, metrics and dashboard"


class Scope(Enum):
    """Of which resources a role may do it. The value is what the documentation says."""

    ALL = "yes"
    OWN = "as themselves"  # the resource is the subject of the token
    OTHER_TOPICS = "to all but the suite's own"
    NONE = "no"


@frozen
class Rule:
    """One line of the table: the scope of each role."""

    client: Scope
    operator: Scope
    service: Scope

    def of(self, role: str) -> Scope:
        """The scope of `role`; none for a word that is no role."""
        return {CLIENT: self.client, OPERATOR: self.operator, SERVICE: self.service}.get(role, Scope.NONE)


@frozen
class ServiceAction:
    """An action of a service that does not come with the suite, with its line of the table."""

    value: str
    rule: Rule


AnyAction = Action | ServiceAction

_ALL, _OWN, _OTHERS, _NONE = Scope.ALL, Scope.OWN, Scope.OTHER_TOPICS, Scope.NONE

TABLE: Mapping[Action, Rule] = {
    #                           client operator service
    Action.NUMBERS_START: Rule(_OWN, _ALL, _ALL),
    Action.BUS_ASK: Rule(_ALL, _ALL, _ALL),
    Action.BUS_PUBLISH: Rule(_NONE, _OTHERS, _OTHERS),
    Action.BUS_SUBSCRIBE: Rule(_NONE, _ALL, _ALL),
    Action.CHATLOG_READ: Rule(_ALL, _ALL, _ALL),
    Action.CHATLOG_APPEND: Rule(_OWN, _ALL, _ALL),
    # Not the operator, who would be putting words into a client's mouth.
    Action.MEDIACHAT_TALK: Rule(_OWN, _NONE, _ALL),
    Action.MEDIACHAT_READ: Rule(_OWN, _ALL, _ALL),
    Action.MEDIACHAT_DESK: Rule(_NONE, _ALL, _ALL),
    Action.ADMIN: Rule(_NONE, _ALL, _ALL),
}


def may(
    role: str, subject: str, action: AnyAction, resource: str = "", own_topics: Collection[str] = OWN_TOPICS
) -> bool:
    """Whether somebody may do `action` to `resource`: a client id, a topic, an author; the action says.

    `own_topics` are the first words of those topics on which only the suite itself may say anything.
    """
    match _rule(action).of(role):
        case Scope.ALL:
            return True
        case Scope.OWN:
            return resource == subject
        case Scope.OTHER_TOPICS:
            return resource.partition(".")[0] not in own_topics
        case _:
            return False


def _rule(action: AnyAction) -> Rule:
    return TABLE[action] if isinstance(action, Action) else action.rule


def check(
    role: str, subject: str, action: AnyAction, resource: str = "", own_topics: Collection[str] = OWN_TOPICS
) -> None:
    """Raise :exc:`Forbidden`, with a sentence for whoever asked, if :func:`may` says no."""
    if may(role, subject, action, resource, own_topics):
        return
    who = {
        Scope.OWN: f"with this token only as {subject}",
        Scope.OTHER_TOPICS: "not to the suite's own topics",
    }
    why = who.get(_rule(action).of(role), f"not with the role {role}")
    raise Forbidden(f"may not {action.value}: {why}")
