"""Who somebody is, and what they may do. A service asks three things of the guard that it is handed.

::

    identity = guard.verify(token)                              # Unauthenticated, or who it is
    guard.check(identity, Action.NUMBERS_START, start.client)   # Forbidden, or nothing
    hold = guard.hold(identity, self.refuse)                    # told once the token is no longer good
    ...
    hold.release()                                              # when the connection is gone

Until a token came, `identity` is None, which ``check`` refuses. Without ``[auth]`` the guard lets
everybody do everything: ``verify`` gives None whatever the token, ``check`` and ``hold`` do nothing, and the
service's code is the same. Both exceptions are a :exc:`~protosuite.errors.PeerFault`, with the code and
the sentence for the peer. Where a message of the protocol brings the token, a :class:`~.guard.Bearer`
does the three for one connection.

``tokens``
    Signed tokens, the file of keys.
``rules``
    The roles, and the one table of what each may do. Pure.
``revocations``
    Tokens that are good no more, in the database, so that every node and a program can see and add them.
``guard``
    What the services ask; it watches the tokens of live connections.
``cli``
    The program ``protosuite-token``.
"""
