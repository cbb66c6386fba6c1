"""What one would use instead, each in its plainest good form, started and stopped as ours is.

What has to be made first (a program in Go, an environment of Python's or Node's) is made on demand, in
``build/peers``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import ROOT, Bench, Missing

SOURCES = Path(__file__).parent


def made(bench: Bench, name: str, make: Callable[[Path], None], takes_long: bool = True) -> Path:
    """The folder of a peer, with what `make` puts there; made again when its sources have changed.

    A quick run makes nothing that fetches packages and `takes_long`.
    """
    folder = ROOT / "build" / "peers" / name
    stamp, wanted = folder / "made-of", _digest(SOURCES / name)
    if not stamp.exists() or stamp.read_text() != wanted:
        if bench.quick and takes_long:
            raise Missing(name, "its environment has not been made: run this row once without --quick")
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)
        stamp.write_text(wanted)
    return folder


def _digest(source: Path) -> str:
    files = sorted(path for path in source.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
