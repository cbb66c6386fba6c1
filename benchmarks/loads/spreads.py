"""What is spread: a room's entries, a topic's events, a channel's messages."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from benchmarks.loads.asking import exactly
from benchmarks.loads.echo import message as echo
from benchmarks.loads.measuring import WrongAnswer
from benchmarks.loads.redis import command
from benchmarks.loads.spreading import Spread
from benchmarks.loads.websocket import Frames, frame, frame_end, handshake, next_text
from protosuite.bus import bus_pb2 as pb


class Room(Spread):
    """A room of chatlog.v1, or of a peer that repeats what is said: one WebSocket message an entry.

    With ``update``, a reader first asks for what is there: when the answer has come, it is in the room.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._asks: bool = options["update"]
        self._content = "x" * self.content

    def join(self, connection: socket.socket) -> None:
        handshake(connection, self.port, "/rooms/bench")
        if self._asks:
            connection.sendall(frame(b'{"type":"ClientUpdate","n":1,"upto":-1}'))
            reply = next_text(connection, Frames())
            if b'"ServerReply"' not in reply:
                raise WrongAnswer(f"to a ClientUpdate came {reply!r}")

    def join_as_writer(self, connection: socket.socket) -> None:
        handshake(connection, self.port, "/rooms/bench")

    def message(self, number: int) -> bytes:
        text = '{"type":"ClientAppend","seq":%d,"author":"ana","content":"%s"}'
        return frame((text % (number, self._content)).encode())

    def end(self, stream: bytearray, at: int) -> int | None:
        return frame_end(stream, at)

    def check(self, message: bytes, number: int) -> None:
        ((_, payload),) = Frames().feed(message)
        answer = json.loads(payload)
        wanted = {"slot": number + 1, "seq": number, "author": "ana", "content": self._content}
        if answer.get("type") != "ServerAck" or not answer["entry"].items() >= wanted.items():
            raise WrongAnswer(f"entry {number} came as {payload!r}")


class Topic(Spread):
    """A topic of bus/1, best effort."""

    _PATTERN = "bench.events"

    def join(self, connection: socket.socket) -> None:
        subscribe = pb.ClientMessage(subscribe=pb.Subscribe(pattern=self._PATTERN))
        there = echo("there")  # the answer to what is asked behind it: it has been subscribed
        connection.sendall(subscribe.SerializeToString() + there)
        if (answer := exactly(connection, len(there))) != there:
            raise WrongAnswer(f"to an echo came {answer!r}")

    def message(self, number: int) -> bytes:
        publish = pb.Publish(topic=self._PATTERN, payload=self._payload(number))
        return pb.ClientMessage(publish=publish).SerializeToString()

    def end(self, stream: bytearray, at: int) -> int | None:
        size = shift = 0
        for place in range(at + 1, len(stream)):  # a tag of one byte, a length in groups of seven bits
            size |= (stream[place] & 0x7F) << shift
            shift += 7
            if not stream[place] & 0x80:
                end = place + 1 + size
                return end if end <= len(stream) else None
        return None

    def check(self, message: bytes, number: int) -> None:
        event = pb.ServerMessage.FromString(message).event
        if event.payload != self._payload(number) or event.sequence != number + 1 or event.dropped:
            raise WrongAnswer(f"event {number} came as {event!r}")

    def _payload(self, number: int) -> bytes:
        return b"%0*d" % (self.content, number)


class Channel(Spread):
    """A channel of Redis."""

    _NAME = b"bench.events"

    def join(self, connection: socket.socket) -> None:
        connection.sendall(command(b"SUBSCRIBE", self._NAME))
        wanted = b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:1\r\n" % (len(self._NAME), self._NAME)
        if (answer := exactly(connection, len(wanted))) != wanted:
            raise WrongAnswer(f"to SUBSCRIBE came {answer!r}")

    def message(self, number: int) -> bytes:
        return command(b"PUBLISH", self._NAME, self._payload(number))

    def end(self, stream: bytearray, at: int) -> int | None:
        end = at + len(self._told(0))
        return end if end <= len(stream) else None

    def check(self, message: bytes, number: int) -> None:
        if message != self._told(number):
            raise WrongAnswer(f"message {number} came as {message!r}")

    def _told(self, number: int) -> bytes:
        return command(b"message", self._NAME, self._payload(number))

    def _payload(self, number: int) -> bytes:
        return b"%0*d" % (self.content, number)
