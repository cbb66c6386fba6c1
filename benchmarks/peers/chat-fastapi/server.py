"""Rooms and a media chat's texts as one would write them with FastAPI, uvicorn and SQLAlchemy.

One commit a message, in WAL mode with full sync, and the answer after it. Called as
``python server.py PORT``; the database is ``chat.db`` in the working folder.
"""

from __future__ import annotations

import json
import sys
import time

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, event, func, insert, select

tables = MetaData()
texts = Table(
    "text",
    tables,
    Column("id", Integer, primary_key=True),
    Column("client", Integer, nullable=False, index=True),
    Column("text", String, nullable=False),
    Column("at", Integer, nullable=False),
)
entries = Table(
    "entry",
    tables,
    Column("room", String, primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("author", String, nullable=False),
    Column("content", String, nullable=False),
    Column("at", Integer, nullable=False),
)
engine = create_engine("sqlite:///chat.db")
app = FastAPI()


class Room:
    """The members of a room, and its last slot."""

    def __init__(self, name: str) -> None:
        self.members: set[WebSocket] = set()
        with engine.connect() as connection:
            latest = select(func.max(entries.c.slot)).where(entries.c.room == name)
            self.slot: int = connection.execute(latest).scalar() or 0


rooms: dict[str, Room] = {}


@event.listens_for(engine, "connect")
def durable(connection, _record):
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def now() -> int:
    return time.time_ns() // 1_000_000


# A commit takes less than handing it to a thread and back; the ones behind it wait either way, for SQLite has
# one writer.


def save_text(client: int, text: str) -> int:
    with engine.begin() as connection:
        row = connection.execute(insert(texts).values(client=client, text=text, at=now()))
        return row.inserted_primary_key[0]


def save_entry(name: str, slot: int, author: str, content: str, at: int) -> None:
    with engine.begin() as connection:
        values = {"room": name, "slot": slot, "author": author, "content": content, "at": at}
        connection.execute(insert(entries), values)


@app.websocket("/ws/{client}")
async def chat(socket: WebSocket, client: int) -> None:
    await socket.accept()
    try:
        await socket.receive_text()  # the time zone
        while True:
            message = save_text(client, await socket.receive_text())
            await socket.send_json({"type": "status", "status": "saved", "message": message})
    except WebSocketDisconnect:
        pass


@app.websocket("/rooms/{name}")
async def enter(socket: WebSocket, name: str) -> None:
    await socket.accept()
    if name not in rooms:
        rooms[name] = Room(name)
    room = rooms[name]
    room.members.add(socket)
    try:
        while True:
            append = await socket.receive_json()
            at = now()
            save_entry(name, room.slot + 1, append["author"], append["content"], at)
            room.slot += 1
            entry = {
                "slot": room.slot,
                "at": at,
                **{key: append[key] for key in ("author", "content", "seq")},
            }
            ack = json.dumps({"type": "ServerAck", "entry": entry})
            for member in list(room.members):
                await member.send_text(ack)
    except WebSocketDisconnect:
        pass
    finally:
        room.members.discard(socket)


if __name__ == "__main__":
    tables.create_all(engine)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
