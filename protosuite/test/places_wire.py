"""The decoders of all protocols, for either side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from attrs import astuple

from protosuite import hours
from protosuite.bus import bus_pb2 as pb
from protosuite.bus import wire as bus
from protosuite.chatlog import chain
from protosuite.chatlog import wire as chatlog
from protosuite.chatlog.lines import LineSplitter, json_line, text_lines
from protosuite.counter import wire as counter
from protosuite.errors import PeerFault
from protosuite.mediachat import conversation
from protosuite.mediachat import wire as mediachat
from protosuite.numbers import wire as numbers
from protosuite.program import shown
from protosuite.test.places import Place, as_json, single, stream, text_of


def _chatlog_request(data: bytes) -> None:
    found = chatlog.from_client(text_of(data))
    if isinstance(found, chatlog.Refused):
        assert chatlog.from_server(chatlog.encode_error(found.error).decode()) == found.error
    else:
        assert chatlog.from_client(chatlog.to_server(found).decode()) == found


def _chatlog_answer(data: bytes) -> None:
    try:
        found = chatlog.from_server(text_of(data))
    except PeerFault:
        return
    if isinstance(found, chatlog.Error):
        return
    entries = found.entries if isinstance(found, chatlog.ServerReply) else (found.entry,)
    chain.Verifier("epoch").first_problem(entries)
    for entry in entries:
        assert "\n" not in json_line(entry)
        lines = text_lines(entry)
        assert lines.count("\n") == entry.content.count("\n")
        assert shown(lines.replace("\n", "")) == lines.replace("\n", "")


def _mediachat_frames(data: bytes) -> None:
    """The frames of one client, each behind a letter that says what it is, joined by a byte 255."""
    first, *frames = data.split(b"\xff")
    try:
        hello = mediachat.hello(text_of(first))
    except PeerFault:
        return
    talk = conversation.Conversation(PARIS, hello.is_plain, HOURS, max_media=1000)
    left = 0
    for number, frame in enumerate(frames):
        now = number * 1_000_000
        steps = talk.binary(frame[1:], now) if frame[:1] == b"b" else talk.text(text_of(frame[1:]), now)
        for step in steps:
            match step:
                case conversation.Begin(head):
                    left = head.size
                    if head.upload is not None:
                        talk.ready(head, 0)
                case conversation.Data(piece):
                    left -= len(piece)
                    assert left >= 0, "more bytes than were announced"
                case conversation.Finish():
                    assert left == 0, "it was not complete"
                case conversation.Answer(status):
                    assert mediachat.from_server(mediachat.encode(status).decode()) == status


def _mediachat_answer(data: bytes) -> None:
    try:
        found = mediachat.from_server(text_of(data))
    except PeerFault:
        return
    if not isinstance(found, dict):
        assert mediachat.from_server(mediachat.encode(found).decode()) == found


PARIS = ZoneInfo("Europe/Paris")
HOURS: Mapping[str, hours.Hours] = {
    "text": hours.parse("05:00-23:59"),
    "voice": hours.parse("08:00-12:00"),
    **dict.fromkeys(("video", "image", "file"), hours.ALWAYS),
}
ENTRY = chatlog.Entry(1, "ana", "hello\nyou", 1_700_000_000_000, "s", 0, "k", hash="0123456789abcdef" * 2)
NUMBERS = (
    b'{"type":"start","client":"ana","max":10}\n{"type":"ack","index":0}\n',
    b'{"type":"start","client":"a.b-c_9","next":3,"checksum":77}\r\n{"type":"ack","index":9}\r\n',
)
ANSWERS: Sequence[numbers.Message] = (
    numbers.SessionOpened("a", 2, 0, 5),
    numbers.Number(0, 9),
    numbers.End(1, 3),
)
COUNTER = (b"".join(map(counter.encode_request, (0, 1, 255, counter.MAX))), counter.encode_request(7))
BUS: Sequence[Any] = (
    pb.EchoMessage(content="grüß"),
    pb.AddRequest(a=-1, b=2**31 - 1),
    pb.Subscribe(pattern="a.#", replay=3, depth=2),
    pb.Subscribe(pattern="*.b", durable="d", prefetch=2),
    pb.Publish(topic="a.b", payload=b"x" * 130, content_type="text/plain", id=2**64 - 1),
    pb.Ack(delivery=1),
    pb.Unsubscribe(pattern="a.#"),
    pb.Unsubscribe(durable="d"),
    pb.Authenticate(token="t"),
)
CHATLOG = (
    b'{"type":"ClientAppend","seq":0,"author":"ana","content":"hello","key":"k"}',
    b'{"type":"ClientAppend","seq":1,"author":"ana","content":"\\ud83d\\ude00\\n"}',
    b'{"type":"ClientUpdate","n":3,"upto":-1}',
)
HEAD = as_json(name="a.bin", size=6, kind="file", type="text/plain", sha256="0" * 64, upload="u")
MEDIACHAT = (
    b"Europe/Paris",
    as_json(timezone="Asia/Kathmandu", after=3, media="inline"),
    as_json(type="text", text="hello", key="k"),
    mediachat.CANCEL,
    HEAD,
    as_json(name="b", size=2, kind="voice"),
)


BUS_ANSWERS: Sequence[Any] = (
    pb.EchoMessage(content="x"),
    pb.AddResponse(result=-3),
    pb.Event(topic="a", payload=b"p", sequence=3, delivery=4, published_at=-1, pattern="#"),
    pb.Receipt(id=1, sequence=2),
    pb.Error(code="bad-topic", message="m", id=1),
)
CHATLOG_ANSWERS = (
    chatlog.encode_ack(chatlog.encode_entry(*astuple(ENTRY))),
    chatlog.encode_reply([chatlog.encode_entry(*astuple(ENTRY))] * 2, 2, 1, "epoch", "s"),
    chatlog.encode_error(chatlog.Error("gap", "why", 3)),
)
MEDIACHAT_ANSWERS = (
    mediachat.encode(mediachat.Status("saved", 7, key="k")),
    mediachat.encode(mediachat.FromDesk(3, "hi", 1)),
    mediachat.encode(mediachat.MediaFromDesk(4, "n.png", "image", 9, "0" * 64, "/media/4", 1)),
    b'{"type":"welcome","chat":1,"after":0,"hours":{}}',
)


def _frames(*frames: tuple[bytes, bytes]) -> bytes:
    return b"\xff".join(kind + data for kind, data in frames)


PLACES: dict[str, Place] = {
    "numbers-requests": stream(lambda: numbers.Decoder(numbers.CLIENT_MESSAGES), *NUMBERS),
    "numbers-answers": stream(
        lambda: numbers.Decoder(numbers.SERVER_MESSAGES),
        b"".join(map(numbers.encode, ANSWERS)),
        numbers.encode(numbers.Error("bad-json", "what was wrong")),
    ),
    "counter-requests": stream(counter.RequestDecoder, *COUNTER),
    "counter-answers": stream(counter.ReplyDecoder, counter.encode_replies([0, 1, counter.MAX])),
    "bus-requests": stream(
        lambda: bus.Decoder(bus.FROM_CLIENT, 300), *map(bus.encode_request, BUS), b"\x82\x80\x01"
    ),
    "bus-answers": stream(
        lambda: bus.Decoder(bus.FROM_SERVER, 300),
        *map(bus.encode_reply, BUS_ANSWERS),
    ),
    "chatlog-requests": single(_chatlog_request, *CHATLOG),
    "chatlog-answers": single(
        _chatlog_answer,
        *CHATLOG_ANSWERS,
    ),
    "chatlog-lines": stream(
        LineSplitter, b"one\ntwo\r\n\n\xff\n" + b"x" * 70_000 + b"\nlast\n", "é\n".encode()
    ),
    "mediachat-frames": single(
        _mediachat_frames,
        _frames((b"", MEDIACHAT[0]), (b"t", b"hello"), (b"b", MEDIACHAT[5]), (b"b", b"ab")),
        _frames((b"", MEDIACHAT[1]), (b"t", MEDIACHAT[2]), (b"b", HEAD), (b"b", b"abc"), (b"b", b"def")),
        _frames((b"", MEDIACHAT[1]), (b"b", HEAD), (b"b", b"abc"), (b"t", mediachat.CANCEL), (b"b", HEAD)),
    ),
    "mediachat-answers": single(
        _mediachat_answer,
        *MEDIACHAT_ANSWERS,
    ),
}
