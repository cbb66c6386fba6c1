"""``protosuite-cert``: certificates for trying TLS, signed by themselves or by an authority of one's own.

``issuing`` makes them, ``keeping`` writes them to files, ``cli`` is the program. All of it needs
the ``tls`` extra.
"""
