"""chatlog.v1: a totally ordered, durable log a room, over WebSocket.

``wire`` has the messages, ``chain`` the hashes that link the entries, ``sequencer`` the order in which
appends are committed; ``store`` gives slots and stores, in one transaction; ``room`` is who follows a
room and its last entries, ``catching_up`` reads what other nodes have stored, ``member`` is one
connection, ``server`` the service with its pages; ``view`` what a client knows of a log, ``client`` its
connection. ``cli`` is the program ``protosuite-chatlog``: ``session`` what its ways have in common,
``piping`` with lines in and out (``lines``), ``reading`` to verify and export, ``terminal`` on a full
screen, whose text is laid out in ``pane``.
"""

from typing import TYPE_CHECKING

from protosuite.ondemand import on_demand

if TYPE_CHECKING:
    from protosuite.chatlog.client import ChatLogClientFactory
else:
    __getattr__ = on_demand(__name__, {"ChatLogClientFactory": "client"})

__all__ = ["ChatLogClientFactory"]
