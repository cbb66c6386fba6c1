"""chatlog.v1: a totally ordered, durable log a room, over WebSocket.

``wire`` has the messages, ``chain`` the hashes that link the entries, ``sequencer`` the order in which
appends are committed; ``store`` gives slots and stores, in one transaction: ``tables`` are what it has,
``layout`` where in them entries go with either engine, ``heads`` where logs end; ``room`` is who follows
a room and its last entries, ``catching_up`` reads what other nodes have stored, ``member`` is one
connection, ``server`` the service with its pages; ``view`` what a client knows of a log, ``client`` its
connection. ``cli`` is the program ``protosuite-chatlog``: ``session`` what its ways have in common,
``piping`` with lines in and out (``lines``), ``reading`` to verify and export, ``terminal`` on a full
screen, whose text is laid out in ``pane``.
"""

from typing import TYPE_CHECKING

from protosuite.ondemand import on_demand

if TYPE_CHECKING:
    from protosuite.chatlog.chain import Verifier
    from protosuite.chatlog.client import ChatLogClientFactory, connect, room_url
    from protosuite.chatlog.view import Change, View
    from protosuite.chatlog.wire import Entry
else:
    __getattr__ = on_demand(
        __name__,
        {
            "Change": "view",
            "ChatLogClientFactory": "client",
            "Entry": "wire",
            "Verifier": "chain",
            "View": "view",
            "connect": "client",
            "room_url": "client",
        },
    )

__all__ = ["Change", "ChatLogClientFactory", "Entry", "Verifier", "View", "connect", "room_url"]
