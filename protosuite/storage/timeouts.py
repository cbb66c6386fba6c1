"""How long a database may take that is somewhere else."""

from __future__ import annotations

from attrs import frozen


@frozen
class Timeouts:
    """Seconds: for a read or a write in all, for one host to answer, and for a lock that another node has."""

    whole: float = 10.0
    connect: float = 3.0
    lock: float = 3.0
