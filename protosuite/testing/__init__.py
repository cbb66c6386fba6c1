"""What tests of the suite, and of programs that use it, are made of.

:mod:`.memory` has what needs no network: a :class:`Line` joins a client factory to a server factory in
memory, a :class:`HandWorker` runs blocking work when a test says so. :mod:`.decoding` feeds decoders.
"""

from protosuite.testing.decoding import Decodes, assert_cuts_alike, decoded
from protosuite.testing.memory import HandWorker, Line, MemoryTransport, database

__all__ = [
    "Decodes",
    "HandWorker",
    "Line",
    "MemoryTransport",
    "assert_cuts_alike",
    "database",
    "decoded",
]
