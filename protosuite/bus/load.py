"""A load on a bus/1 server: echoes, with every answer checked."""

from __future__ import annotations

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import FROM_SERVER, Decoder, encode_request
from protosuite.errors import PeerFault
from protosuite.net.load import Load, LoadConnection


class EchoLoad(LoadConnection):
    """Each answer must have the text of the request whose turn it is."""

    def __init__(self, load: Load, number: int, token: str | None = None) -> None:
        super().__init__(load, number)
        self._decoder = Decoder(FROM_SERVER)
        # No two requests of all connections are alike, so no answer can pass for another.
        self._texts = [f"echo {turn} of connection {number}" for turn in range(load.depth)]
        self._batch = b"".join(encode_request(pb.EchoMessage(content=text)) for text in self._texts)
        self._first = b"" if token is None else encode_request(pb.Authenticate(token=token))
        self._turn = 0

    def batch(self) -> bytes:
        self._turn = 0
        first, self._first = self._first, b""
        return first + self._batch

    def check(self, data: bytes) -> int:
        before = self._turn
        for body in self._decoder.feed(data):
            if isinstance(body, pb.Error):
                raise PeerFault(body.code, body.message)
            if self._turn == self.depth:
                raise PeerFault("bad-answer", "an answer that nobody asked for")
            wanted = self._texts[self._turn]
            if not isinstance(body, pb.EchoMessage) or body.content != wanted:
                raise PeerFault("bad-answer", f"an answer is not the echo of {wanted!r}")
            self._turn += 1
        return self._turn - before
