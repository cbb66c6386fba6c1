"""mediachat.v1: text, voice, pictures and video between a client and the people who answer.

``hours`` says when what is taken. ::

    MediaChatClientFactory (client)                      MediaChatService (server)
      texts, keys, reconnects                              |
        |            |                                   ClientTalk (client_talk), Api (api)
    Sending        Receiving                               |            |
    (sending)      (receiving)                           Upload       MediaChatStore
      files, from    messages, in order, once            (upload)     (store)
      an offset on     |                                   |
                     SaveFolder, StateFile               MediaFolder (media)
                     (saving)
                               frames of both: wire
"""

from protosuite.mediachat.client import MediaChatClientFactory

__all__ = ["MediaChatClientFactory"]
