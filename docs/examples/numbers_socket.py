"""numbers/1 without protosuite: one stream over one connection, verified at its end."""

import json
import socket
import zlib

with socket.create_connection(("127.0.0.1", 5500)) as connection:

    def send(**fields: object) -> None:
        connection.sendall(json.dumps(fields).encode() + b"\n")

    send(type="start", client="by-hand", max=5, next=0)
    total, checksum = 0, 1
    for message in map(json.loads, connection.makefile("rb")):
        if message["type"] == "number":
            total += message["value"]
            checksum = zlib.adler32(b"%d\n" % message["value"], checksum)
            send(type="ack", index=message["index"])
        elif message["type"] == "end":
            print("sum", total, "verified" if checksum == message["checksum"] else "WRONG")
        elif message["type"] == "error":
            print(message["code"], message["message"])
