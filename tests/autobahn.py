"""The Autobahn test suite, as kosoku has it, against a server: ``HOST:PORT AT_ONCE MOST GROUP ...``.

Of groups 12 and 13, whose subgroups have the same cases in 18 sizes, the first MOST of each are run; 0: all.

It prints a line for each case, ``9.1.1 OK OK``: what it found, and what of the close; at last how many.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from kosoku import FailureError, run_fuzzingclient
from kosoku.cases import CASES


def take_plain_messages(case: Any) -> None:
    """Mend a defect of kosoku 0.1.0 in the cases of groups 12 and 13.

    What the server did not compress, as it is free to do (RFC 7692, 6), it hands on as ``str``: a text
    decoded, binary data as Latin-1. The cases hash it, which wants bytes, and end with "Strings must be
    encoded before hashing". What was compressed it hands on as ``bytes``, as Autobahn itself always does.
    """
    on_message = case.onMessage

    def with_bytes(self: Any, message: str | bytes, binary: bool) -> None:
        if isinstance(message, str):
            message = message.encode("latin-1" if binary else "utf-8")
        on_message(self, message, binary)

    case.onMessage = with_bytes


async def main(address: str, at_once: str, most: str, *groups: str) -> None:
    """Run the cases of `groups`."""
    cases = {}
    for name, case in CASES.items():
        group, *_, last = name.split(".")
        compresses = group in ("12", "13")
        if compresses:
            take_plain_messages(case)
        if group in groups and not (compresses and 0 < int(most) < int(last)):
            cases[name] = case
    try:
        results = await run_fuzzingclient(address, list(cases), None, concurrency=int(at_once))
    except FailureError as failure:
        results = failure.results
    for result in results:
        print(result.case_id, result.behavior.value, result.behavior_close.value, result.result)
    print(f"{len(results)} of {len(cases)} cases", flush=True)


asyncio.run(main(*sys.argv[1:]))
sys.stdout.flush()
os._exit(0)  # kosoku 0.1.0 now and then aborts as the interpreter ends, when all has been said
