"""Text that is no UTF-8 is found as it comes, and not only when its frame is whole."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Generator

from websockets.frames import Opcode
from websockets.streams import StreamReader

from protosuite.net.masking import apply_mask, turned

DecoderState = tuple[bytes, int]

_FINAL = 0x80  # bits of a frame's first byte
_RESERVED = 0x70  # among them the one of compression

_decoder = codecs.getincrementaldecoder("utf-8")


class FrameReader(StreamReader):
    """What the package reads frames from, which looks at the text of one that has not come whole.

    `is_framed` says whether frames come already: before them comes HTTP. `continued` is the state of the
    decoder in which a fragment goes on, `room` how large the next frame may be. What is no UTF-8 is a
    `UnicodeDecodeError` in the reading. A frame that is wrong for another reason is not looked at: what is
    wrong with it does not depend on how it was cut.
    """

    def __init__(self, is_framed: Callable[[], bool]) -> None:
        super().__init__()
        self.continued: Callable[[], DecoderState] = lambda: (b"", 0)
        self.room: Callable[[], int] = lambda: 0
        self._is_framed = is_framed
        self.head: bytes | None = None  # the first two bytes of the frame that is read
        self._mask = b""
        self._pieces = 0  # of its header that are still to be read
        self._size = 0  # of its data, while they come
        self._is_text = False  # the message, and not a compressed one
        self._goes_on = False  # the message: a fragment that is not its last has come

    @property
    def is_between_frames(self) -> bool:
        """Whether nothing has come of the next frame."""
        return self.head is None and not self.buffer

    @property
    def missing(self) -> int:
        """Bytes of the data of the next frame that have not come; 0 while its header has not."""
        return max(0, self._size - len(self.buffer))

    def read_exact(self, n: int) -> Generator[None, None, bytearray]:
        """The package asks for the two bytes, then a length and a mask if there are such, then the data."""
        if not self._is_framed():
            return (yield from super().read_exact(n))
        head = self.head
        if head is None:
            data = yield from super().read_exact(n)
            self._begin(bytes(data))
        elif self._pieces:
            data = yield from super().read_exact(n)
            self._pieces -= 1
            self._mask = bytes(data)  # which comes last, if it comes
        else:
            opcode = head[0] & 0x0F
            self._size = n
            is_next = opcode == (Opcode.CONT if self._goes_on else Opcode.TEXT) and not head[0] & _RESERVED
            if self._is_text and is_next and n <= self.room():
                yield from self._look(opcode == Opcode.CONT, bool(head[1] & 0x80), n)
            data = yield from super().read_exact(n)
            self.head, self._size = None, 0
            if opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._goes_on = not head[0] & _FINAL
        return data

    def _begin(self, head: bytes) -> None:
        self.head = head
        self._pieces = ((head[1] & 0x7F) > 125) + bool(head[1] & 0x80)
        if not self._goes_on:  # what comes within a message instead of its next fragment is refused
            self._is_text = head[0] & ~_FINAL == Opcode.TEXT

    def _look(self, is_continued: bool, is_masked: bool, size: int) -> Generator[None]:
        """Decode what there is until all of it is there.

        Where the error is counts as it would in the whole frame, with what the fragment before left open.
        """
        at = 0
        decoder = _decoder()
        if is_continued:
            decoder.setstate(self.continued())
        base = len(decoder.getstate()[0])
        while len(self.buffer) < size and not self.eof:
            piece = bytes(self.buffer[at:])
            if is_masked:
                piece = apply_mask(piece, turned(self._mask, at))
            done = base + at - len(decoder.getstate()[0])
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                error.start += done
                error.end += done
                raise
            at += len(piece)
            yield
