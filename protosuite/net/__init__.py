"""What the services share about connections.

``connection`` is one connection on the server's side and how it ends, ``listening`` the service that
listens, counts and drains them, ``reconnect`` the client that comes back, ``systemd`` the service
manager's side.
"""
