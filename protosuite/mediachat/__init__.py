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

from protosuite.mediachat.client import MediaChatClientFactory

__all__ = ["MediaChatClientFactory"]
