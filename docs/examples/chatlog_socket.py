"""chatlog.v1 without protosuite: append an entry, read the last ones, check their hashes."""

import json
from hashlib import blake2b
from uuid import uuid4

from websockets.sync.client import connect

FIELDS = ("slot", "author", "content", "at", "session", "seq", "key")


def digest(previous: str, entry: dict) -> str:
    array = [previous, *(entry.get(field) for field in FIELDS)]
    text = json.dumps(array, separators=(",", ":"), ensure_ascii=False)
    return blake2b(text.encode(), digest_size=16).hexdigest()


with connect("ws://127.0.0.1:8082/rooms/main", subprotocols=["chatlog.v1"]) as socket:

    def send(**fields: object) -> None:
        socket.send(json.dumps(fields))

    def receive(kind: str) -> dict:
        while (message := json.loads(socket.recv()))["type"] != kind:
            if message["type"] == "Error":
                raise SystemExit(message["message"])
        return message

    key = str(uuid4())
    send(type="ClientAppend", seq=0, author="by hand", content="hello", key=key)
    while receive("ServerAck")["entry"].get("key") != key:
        pass  # somebody else's
    send(type="ClientUpdate", n=10, upto=-1)
    reply = receive("ServerReply")

entries = reply["entries"]
previous = reply["epoch"] if entries[0]["slot"] == 1 else None
for entry in entries:
    fits = previous is None or entry["hash"] == digest(previous, entry)
    print(entry["slot"], entry["author"], entry["content"], "" if fits else "WRONG")
    previous = entry["hash"]
