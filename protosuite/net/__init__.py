"""What the services share about connections.

On the server's side
    ``connection`` is one connection and how it ends, ``listening`` the service that listens, counts and
    drains them; ``limits``, ``unfinished``, ``inflow``: what a connection may cost; ``exposure``: who could
    reach it; ``prompt``, ``turns``: how soon an answer leaves; ``systemd`` is the service manager's side.
Endpoints
    ``tls`` and ``certificates``: TLS whose certificates may be renewed; ``proxied``: the PROXY protocol.
WebSockets
    ``websocket`` is a connection of either side; ``websocket_rules``, ``early_text``, ``masking`` and
    ``outbox`` are what it is made of; ``frame_receiver`` has a thread receive large messages.
    ``websocket_client`` is the client's handshake, ``handshake`` the server's.
HTTP
    ``web`` is a connection, ``http`` its parser, ``web_service`` the service; ``api``, ``answers``,
    ``ranges`` and ``pages`` are what is served, ``access`` and ``login`` say to whom; ``sendfile`` has the
    system send a file. ``assets`` are for all pages.
On the client's side
    ``reconnect`` is the factory that comes back, ``load`` and ``latencies`` measure a server.
Between processes of one suite
    ``channel`` hands connections from one to another.
"""
