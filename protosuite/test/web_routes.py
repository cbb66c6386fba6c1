"""Every route of the media chat, and what each asks about: for tests in memory, and of whole processes."""

from __future__ import annotations

from typing import Any

from protosuite.auth.rules import Action

# What each route asks about; an action about nobody in particular has no resource. Client 7 has chat 1 and
# medium 1, client 8 has chat 2 and medium 2. Those that ask for nothing are for everybody.
ASKED: dict[str, tuple[Action, str] | None] = {
    "GET /chats": (Action.MEDIACHAT_DESK, ""),
    "GET /chats?client_id=7": (Action.MEDIACHAT_READ, "7"),
    "GET /chats?client_id=8": (Action.MEDIACHAT_READ, "8"),
    "GET /messages?chat_id=1": (Action.MEDIACHAT_READ, "7"),
    "GET /messages?chat_id=2": (Action.MEDIACHAT_READ, "8"),
    "POST /chats/1/messages": (Action.MEDIACHAT_DESK, ""),
    "POST /chats/1/media?name=a&kind=file": (Action.MEDIACHAT_DESK, ""),
    "POST /chats/1/read": (Action.MEDIACHAT_DESK, ""),
    "GET /media/1": (Action.MEDIACHAT_READ, "7"),
    "GET /media/2": (Action.MEDIACHAT_READ, "8"),
    "GET /openapi.json": None,
    "GET /whoami": None,
    "POST /login": None,
    "POST /logout": None,
    # Pages, which openapi.json does not know.
    "GET /": (Action.MEDIACHAT_TALK, "7"),
    "GET /console": (Action.MEDIACHAT_DESK, ""),
    "GET /login": None,
    "GET /assets/base.css": None,
    "GET /page.js": None,
}
SOCKETS = {
    "/ws/7": (Action.MEDIACHAT_TALK, "7"),
    "/ws/8": (Action.MEDIACHAT_TALK, "8"),
    "/console/ws": (Action.MEDIACHAT_DESK, ""),
}
# That there is such a chat or medium is not told to whom it does not concern.
HIDDEN = ("GET /messages", "GET /media")
BODIES: dict[str, Any] = {
    "POST /chats/1/messages": {"text": "x"},
    "POST /chats/1/media?name=a&kind=file": b"x",
    "POST /chats/1/read": {"upto": 1},
}
