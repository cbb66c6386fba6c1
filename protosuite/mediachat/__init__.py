"""mediachat.v1: text, voice, pictures and video between a client and the people who answer.

``hours`` says when what is taken; ``wire`` has the frames of both sides. ::

    MediaChatClientFactory (client)                      MediaChatService (server)
      texts, keys, reconnects                              |              |
        |              |                                 ClientTalk     the API
      Sending        Receiving                           (client_talk)  (api)
      (sending)      (receiving)                           |    |         |
      files, from    messages, in order, once              |   MediaChatStore (store)
      an offset on     |                                   |
                     SaveFolder, StateFile (saving)      Upload, MediaFolder (upload, media)

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
