"""What the chat log tells of itself: its open rooms, and what waits to be committed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from heapq import nlargest

from protosuite.chatlog.room import Room
from protosuite.figures import Figure, Histogram, counter, gauge, histogram

_SHOWN = 20  # rooms


def figures(rooms: Collection[Room], commits: Histogram) -> Iterator[Figure]:
    """For machines. `commits` counts the appends of each commit."""
    members = sum(len(room.members) for room in rooms)
    waiting = sum(room.pending for room in rooms)
    yield gauge(
        "chatlog_rooms_open", "Rooms that somebody is in, or that have something to commit.", len(rooms)
    )
    yield gauge("chatlog_members", "Members of all rooms.", members)
    yield gauge("chatlog_appends_waiting", "Appends that were accepted and are not committed.", waiting)
    yield counter("chatlog_appends_total", "Appends that went to the store.", commits.total)
    yield histogram("chatlog_commit_appends", "Appends that share a commit.", commits)


def overview(rooms: Collection[Room]) -> Mapping[str, object]:
    """For people: the rooms with most members, and the slot at the head of each."""
    busiest = nlargest(_SHOWN, rooms, key=lambda room: (len(room.members), room.latest))
    shown = [
        {
            "room": room.name,
            "latest": room.latest if room.is_open else None,
            "members": len(room.members),
            "waiting": room.pending,
        }
        for room in busiest
    ]
    return {"rooms": len(rooms), "shown": shown}
