"""Media: uploads beside ``dd``, downloads beside nginx."""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Bench, Figures, Wrong
from benchmarks.comparing import Goal, Row, Side
from benchmarks.loading import Load, put
from benchmarks.loads.files import MIB, content
from benchmarks.loads.measuring import Stopwatch
from benchmarks.peers import nginx
from benchmarks.processes import find
from benchmarks.suite import serving

_COUNT = 8
_OPEN = {"hours_file": "always"}


def _size(bench: Bench) -> int:
    return bench.choose(64, 2) * MIB


def _upload(bench: Bench) -> Figures:
    size = _size(bench)
    load = Load("uploads", {"connections": _COUNT, "size": size}, processes=2)
    with bench.folder() as folder, serving(bench, "mediachat", _OPEN, folder) as server:
        loaded = put(bench, server, load)
        _hold(folder, size)
    return loaded.figures()


def _hold(folder: Path, size: int) -> None:
    """Every file that was sent is stored, byte for byte."""
    stored = {_hash(path.read_bytes()) for path in folder.rglob("*") if path.stat().st_size == size}
    if stored != {_hash(content(number, size)) for number in range(_COUNT)}:
        raise Wrong("what is stored is not what was sent")


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data).hexdigest()


def _dd(bench: Bench) -> Figures:
    size = _size(bench)
    dd = find("dd", "apt-get install coreutils")
    with bench.folder() as folder:
        commands: list[Sequence[str | Path]] = []
        for number in range(_COUNT):
            (folder / f"from-{number}").write_bytes(content(number, size))
            words = ["bs=1M", "conv=fsync", "status=none"]
            commands.append([dd, f"if={folder}/from-{number}", f"of={folder}/to-{number}", *words])
        bench.says(commands[0])
        watch = Stopwatch()
        processes = [subprocess.Popen(command) for command in commands]
        codes = [process.wait() for process in processes]
        if any(codes):
            raise Wrong("dd failed")
        return Figures(_COUNT * size / MIB / watch.seconds())


def _download(bench: Bench) -> Figures:
    with bench.folder() as folder, serving(bench, "mediachat", _OPEN, folder) as server:
        source = _source(bench, folder)
        url = f"http://127.0.0.1:{server.port}"
        put(bench, server, Load("uploads", {"connections": 1, "size": _size(bench)}))
        bench.commands.pop()
        with urllib.request.urlopen(f"{url}/chats?client_id=1") as answer:
            chat = json.load(answer)["items"][0]["id"]
        with urllib.request.urlopen(f"{url}/messages?chat_id={chat}") as answer:
            path = json.load(answer)["items"][0]["url"]
        return put(bench, server, _downloads(path, source)).figures()


def _nginx(bench: Bench) -> Figures:
    with bench.folder() as folder:
        source = _source(bench, folder)
        with nginx.serving(bench, folder) as server:
            return put(bench, server, _downloads(f"/{source.name}", source)).figures()


def _source(bench: Bench, folder: Path) -> Path:
    source = folder / "source"
    source.write_bytes(content(0, _size(bench)))
    return source


def _downloads(path: str, source: Path) -> Load:
    return Load("downloads", {"paths": [path] * (_COUNT // 2), "source": str(source)}, processes=2)


ROWS = (
    Row(
        "mediachat-upload",
        f"{_COUNT} uploads of 64 MiB at once, stored and synced",
        "MiB/s",
        Side("mediachat", _upload),
        Side("dd conv=fsync, 8 at once", _dd),
        (Goal("ratio", at_least=0.5),),
    ),
    Row(
        "mediachat-download",
        f"{_COUNT} downloads of 64 MiB at once, every byte compared",
        "MiB/s",
        Side("mediachat", _download),
        Side("nginx", _nginx),
        (Goal("ratio", at_least=0.5),),
    ),
)
