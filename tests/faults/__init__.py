"""Faults: a suite under load while connections break and processes die, and what must hold all the same.

:mod:`.loads` puts load on a suite through the client classes, :mod:`.checks` says whether what came of it can
be right, :mod:`.crashes` kills the suite, :mod:`.torture` does everything at once for as long as one likes.

Chance decides, from one seed, which every failure names. ``PROTOSUITE_SEED`` in the environment
repeats it: the same things are done in the same order, as far as time has no part in it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

IS_LONG = os.environ.get("PROTOSUITE_NIGHTLY") == "1"  # what takes too long for every change


def seed() -> int:
    """The seed that was asked for, or another one each time."""
    given = os.environ.get("PROTOSUITE_SEED")
    return int(given) if given else random.getrandbits(32)


@contextmanager
def naming(seed: int) -> Iterator[None]:
    """Let every failure within say how to repeat it."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"with PROTOSUITE_SEED={seed}: {type(error).__name__}: {error}") from error
