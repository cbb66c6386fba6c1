"""Fuzzing with atheris, which is led by what the code does with its input.

A place is where bytes of others are read; without any, all are fuzzed, some at once. What is found is kept
below ``build/fuzz``: in ``corpus`` the inputs that led further, with which the next run begins; in ``broken``
those that broke a promise, which ``--again`` runs once more; in ``log`` what libFuzzer said.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from hashlib import sha1
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["protosuite", "websockets", "twisted.web"]):
    from protosuite.test.mutation import TRAPS
    from protosuite.test.places import Place, Quiet
    from protosuite.test.strangers import PLACES


def main() -> None:
    """Fuzz what the command line says. The exit code is 0 when nothing was found."""
    options = _options()
    if options.again is not None:
        [name] = options.places
        _reader(PLACES[name], options.folder / name)(options.again.read_bytes())
        return
    waiting = list(options.places or PLACES)
    running: dict[int, str] = {}
    broken = 0
    while waiting or running:
        while waiting and len(running) < options.jobs:
            name = waiting.pop(0)
            if (pid := os.fork()) == 0:  # libFuzzer takes its process with it
                _fuzz(name, options)
            running[pid] = name
        pid, status = os.wait()
        name = running.pop(pid)
        broken += status != 0
        print(f"{name}: {_summary(options.folder / name / 'log')}{', BROKEN' if status else ''}", flush=True)
    sys.exit(broken > 0)


def _fuzz(name: str, options: Namespace) -> None:
    """Fuzz one place, and end this process: with 0 when nothing was found."""
    place = PLACES[name]
    found: Path = options.folder / name
    one = _reader(place, found)
    for folder in ("corpus", "broken"):
        (found / folder).mkdir(exist_ok=True)
    for image in place.images:
        (found / "corpus" / sha1(image, usedforsecurity=False).hexdigest()).write_bytes(image)
    (found / "words").write_text("".join(f'"{word}"\n' for word in _words(place.images)), "ascii")
    log = os.open(found / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    arguments = [
        f"-max_total_time={options.seconds}",
        f"-runs={options.runs}",
        f"-seed={options.seed}",
        f"-artifact_prefix={found}/broken/",
        f"-dict={found}/words",
        "-max_len=4096",
        "-timeout=20",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
        "-reduce_inputs=0",
    ]
    atheris.Setup([sys.argv[0], *arguments, str(found / "corpus")], one)
    atheris.Fuzz()


def _reader(place: Place, found: Path) -> Callable[[bytes], None]:
    """What reads at `place`; it raises when a promise is broken."""
    shutil.rmtree(found / "scratch", ignore_errors=True)
    (found / "scratch").mkdir(parents=True)
    take = place.open(found / "scratch")

    def one(data: bytes) -> None:
        with Quiet():
            take(data)

    return one


def _words(images: Sequence[bytes]) -> list[str]:
    """What a parser may look for, as libFuzzer writes it."""
    words = {word for image in images for word in re.findall(rb"[A-Za-z][A-Za-z0-9-]{1,40}", image)}
    return sorted("".join(f"\\x{byte:02x}" for byte in word) for word in {*words, *TRAPS} if len(word) < 60)


def _summary(log: Path) -> str:
    """What libFuzzer said in the end."""
    text = log.read_text("utf-8", "replace") if log.exists() else ""
    last = (re.findall(r"#(\d+)\s.* cov: (\d+) ft: (\d+)", text) or [("0", "0", "0")])[-1]
    return f"{last[0]} inputs, {last[1]} edges, {last[2]} features"


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("places", nargs="*", metavar="PLACE", help="one of " + ", ".join(PLACES))
    parser.add_argument("--seconds", type=int, default=0, help="for each, 0 without end (%(default)s)")
    parser.add_argument("--runs", type=int, default=-1, help="of each, -1 without end (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of chance, 0 is another each time (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="what is kept (%(default)s)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="run one input of one place, once")
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    for name in options.places:
        if name not in PLACES:
            parser.error(f"{name} is none of {', '.join(PLACES)}")
    return options


main()
