"""Fuzzing with atheris, which is led by what the code does with its input.

What is found is kept below ``build/fuzz``: the inputs that led further, which the next run begins with, and
those that broke a promise, which ``--again`` runs once more.
"""

from __future__ import annotations

import re
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path

import atheris

INSTRUMENTED = ["protosuite", "websockets", "twisted.web"]

with atheris.instrument_imports(include=INSTRUMENTED):
    from protosuite.test.mutation import TRAPS
    from protosuite.test.places import Quiet
    from protosuite.test.strangers import PLACES


def main() -> None:
    """Fuzz one place. libFuzzer ends the process itself: with 0 when nothing was found."""
    options = _options()
    if options.place is None:
        print("\n".join(PLACES))
        return
    place = PLACES[options.place]
    found: Path = options.folder.absolute() / options.place
    shutil.rmtree(found / "scratch", ignore_errors=True)
    for name in ("scratch", "corpus", "broken"):
        (found / name).mkdir(parents=True, exist_ok=True)
    take = place.open(found / "scratch")

    def one(data: bytes) -> None:
        with Quiet():
            take(data)

    if options.again is not None:
        one(options.again.read_bytes())
        return
    for image in place.images:
        (found / "corpus" / sha1(image, usedforsecurity=False).hexdigest()).write_bytes(image)
    (found / "words").write_text("".join(f'"{word}"\n' for word in _words(place.images)), "ascii")
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


def _words(images: Sequence[bytes]) -> list[str]:
    """What a parser may look for, as libFuzzer writes it."""
    words = {word for image in images for word in re.findall(rb"[A-Za-z][A-Za-z0-9-]{1,40}", image)}
    return sorted("".join(f"\\x{byte:02x}" for byte in word) for word in {*words, *TRAPS} if len(word) < 60)


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("place", nargs="?", choices=list(PLACES), help="without it the names are printed")
    parser.add_argument("--seconds", type=int, default=0, help="how long, 0 without end (%(default)s)")
    parser.add_argument("--runs", type=int, default=-1, help="how often, -1 without end (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="for what is random, 0 another each time (%(default)s)"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="what is kept (%(default)s)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="run one input once")
    return parser.parse_args()


main()
