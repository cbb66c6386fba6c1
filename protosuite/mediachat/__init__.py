"""mediachat.v1: text, voice, pictures and video between a client and the people who answer.

``wire`` has the frames of both sides, :mod:`protosuite.hours` says when what is taken. ::

    MediaChatClientFactory (client)                      MediaChatService (server)
      texts, keys, reconnects                              |              |
        |              |                                 ClientTalk     the API
      Sending        Receiving                           (client_talk)  (api)
      (sending)      (receiving)                           |    |         |
      files, from    messages, in order, once              |   MediaChatStore (store)
      an offset on     |                                   |
                     SaveFolder, StateFile (saving)      Upload, a MediaStore (media/)

On the server's side ``conversation`` has the rules of what a client says in turn, ``turns`` answers it
in that order, ``telling`` brings what the desk says, and ``desk_talk`` is a console. Behind the API is
``posting``. ``adding`` puts many messages into the ``tables`` by a few statements, and by ``filing``
those of a chat are found. The folder ``media`` is all that files go through: how they come in, where they
are kept, how they go out.

With several nodes ``places`` and ``cuts`` have the order of what all have stored, ``following`` tells
consoles of it and ``hearing`` clients, ``whereabouts`` is who is connected where, ``others`` all three.

``cli`` is the program ``protosuite-mediachat``, with ``commands``, ``history`` and ``lines``.
"""

from typing import TYPE_CHECKING

from protosuite.ondemand import on_demand

if TYPE_CHECKING:
    from protosuite.mediachat.client import MediaChatClientFactory, chat_url, connect
    from protosuite.mediachat.receiving import Received
    from protosuite.mediachat.saving import SaveFolder, StateFile
    from protosuite.mediachat.wire import Status
else:
    __getattr__ = on_demand(
        __name__,
        {
            "MediaChatClientFactory": "client",
            "Received": "receiving",
            "SaveFolder": "saving",
            "StateFile": "saving",
            "Status": "wire",
            "chat_url": "client",
            "connect": "client",
        },
    )

__all__ = [
    "MediaChatClientFactory",
    "Received",
    "SaveFolder",
    "StateFile",
    "Status",
    "chat_url",
    "connect",
]
