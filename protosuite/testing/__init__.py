"""What tests of the suite, and of programs that use it, are made of.

:mod:`.memory` has what needs no network: a :class:`Line` joins a client factory to a server factory in
memory, a :class:`HandWorker` runs blocking work when a test says so. :mod:`.decoding` feeds decoders. A
:class:`FaultProxy` stands between a real client and a real server, and does what networks do:
:mod:`.proxy`, with :mod:`.faults` that chance draws, :mod:`.link` for a connection and :mod:`.lane` for
one of its directions.
"""

from protosuite.testing.decoding import Decodes, assert_cuts_alike, decoded
from protosuite.testing.faults import ANY_ACT, Act, Faults, Way
from protosuite.testing.link import Link
from protosuite.testing.memory import HandWorker, Line, MemoryTransport, database
from protosuite.testing.proxy import FaultProxy

__all__ = [
    "ANY_ACT",
    "Act",
    "Decodes",
    "FaultProxy",
    "Faults",
    "HandWorker",
    "Line",
    "Link",
    "MemoryTransport",
    "Way",
    "assert_cuts_alike",
    "database",
    "decoded",
]
