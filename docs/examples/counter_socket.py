"""counter/1 without protosuite: one request, one reply."""

import socket
import struct

from xxhash import xxh64_intdigest


def add(connection: socket.socket, amount: int) -> int:
    connection.sendall(struct.pack(">QQ", amount, xxh64_intdigest(str(amount).encode())))
    reply = connection.recv(8, socket.MSG_WAITALL)
    if len(reply) < 8:
        raise ConnectionError("closed: refused, or the server stopped")
    return struct.unpack(">Q", reply)[0]


with socket.create_connection(("127.0.0.1", 8080)) as connection:
    print(add(connection, 10), add(connection, 0))
