"""The mask of a WebSocket's frames from a client (RFC 6455, 5.3): over the data again, it is off."""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask
except ImportError:  # not compiled for this machine
    from websockets.utils import apply_mask

MASK = 4  # bytes


def turned(mask: bytes, size: int) -> bytes:
    """The mask for what comes behind `size` bytes that began with `mask`."""
    turn = size % MASK
    return mask[turn:] + mask[:turn]


__all__ = ["MASK", "apply_mask", "turned"]
