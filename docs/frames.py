"""The bytes of counter/1 and bus/1 on the protocols' pages, as the suite's own encoders make them."""

from collections.abc import Iterable, Iterator

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from protosuite.bus import bus_pb2 as pb
from protosuite.bus import wire as bus
from protosuite.counter import wire as counter

Row = tuple[str, bytes, bytes]  # what it is, what a client sends, what it gets

PUBLISHED_AT = 1_795_246_148_781  # milliseconds
DELIVERY = 1_882_454_545_858_101_248  # deliveries are numbered from the time of the start on
INCREMENTS = {
    "0": 0,
    "1": 1,
    "2": 2,
    "10": 10,
    "42": 42,
    "1000": 1000,
    "2\\ :sup:`32`": 2**32,
    "2\\ :sup:`63`": 2**63,
    "2\\ :sup:`64` − 1": 2**64 - 1,
}


def asked_of_the_bus() -> Iterator[Row]:
    """Requests, and what a bus on which nothing has happened yet says to them."""
    event = {"topic": "a.b", "payload": b"hi", "content_type": "text/plain"}
    for what, request, *answers in (
        ("echo ``hello``", pb.EchoMessage(content="hello"), pb.EchoMessage(content="hello")),
        ("add 5 and 7", pb.AddRequest(a=5, b=7), pb.AddResponse(result=12)),
        ("add −1 and 0", pb.AddRequest(a=-1), pb.AddResponse(result=-1)),
        (
            "add 2\\ :sup:`31` − 1 and 1",
            pb.AddRequest(a=2**31 - 1, b=1),
            pb.Error(code="overflow", message="2147483647 + 1 is not an int32"),
        ),
        ("subscribe to ``#``", pb.Subscribe(pattern="#")),
        ("unsubscribe", pb.Unsubscribe(pattern="#")),
        ("subscribe to ``a.*`` as ``k``", pb.Subscribe(pattern="a.*", durable="k")),
        (
            "publish ``hi`` to ``a.b``",
            pb.Publish(id=7, **event),
            pb.Receipt(id=7, sequence=1),
        ),
        (
            "its event, and an acknowledgement",
            pb.Ack(delivery=DELIVERY),
            pb.Event(**event, sequence=1, delivery=DELIVERY, published_at=PUBLISHED_AT, pattern="a.*"),
        ),
    ):
        yield what, bus.encode_request(request), b"".join(map(bus.encode_reply, answers))


class CounterRequests(SphinxDirective):
    """Requests that are ready to be sent."""

    def run(self) -> list[nodes.Node]:
        rows = [("increment", "bytes 0–7", "bytes 8–15")]
        for name, increment in INCREMENTS.items():
            frame = counter.encode_request(increment)
            rows.append((name, f"``{frame[:8].hex()}``", f"``{frame[8:].hex()}``"))
        return self.parse_text_to_nodes("\n".join(table(rows, "34 33 33")))


class CounterTalk(SphinxDirective):
    """Requests in one run, and their replies."""

    def run(self) -> list[nodes.Node]:
        return [dump(self.lines())]

    @staticmethod
    def lines() -> list[str]:
        """A line a frame; the counter is a new one."""
        increments, total, lines = (5, 10, 0), 0, []
        for increment in increments:
            lines.append(f"> {spaced(counter.encode_request(increment), 8)}   add {increment}")
        for increment in increments:
            total += increment
            lines.append(f"< {spaced(counter.encode_replies([total]), 8)}{' ' * 28}it is {total} now")
        return lines


class BusFrames(SphinxDirective):
    """Messages as they are on the wire."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for what, sent, got in asked_of_the_bus():
            title = what.replace("``", "").replace("\\ :sup:`31`", "³¹")
            lines += ["", title] if lines else [title]
            lines += [f"> {line}" for line in sixteens(sent)]
            lines += [f"< {line}" for line in sixteens(got)]
        return [dump(lines)]


def table(rows: Iterable[tuple[str, ...]], widths: str) -> Iterator[str]:
    """A table in reStructuredText."""
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for first, *rest in rows:
        yield f"   * - {first}"
        yield from (f"     - {cell}" for cell in rest)


def dump(lines: Iterable[str]) -> nodes.Node:
    """Lines as they are."""
    text = "\n".join(lines)
    block = nodes.literal_block(text, text)
    block["language"] = "none"
    return block


def spaced(data: bytes, group: int) -> str:
    """Hexadecimal, with more room between groups."""
    return "  ".join(data[at : at + group].hex(" ") for at in range(0, len(data), group))


def sixteens(data: bytes) -> Iterator[str]:
    """Hexadecimal and text, sixteen bytes a line."""
    for at in range(0, len(data), 16):
        piece = data[at : at + 16]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "·" for byte in piece)
        yield f"{spaced(piece, 8):<48}  {text}"
