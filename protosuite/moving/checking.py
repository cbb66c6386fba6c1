"""Whether two databases have the same rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import Connection, FromClause

_AT_ONCE = 1000  # rows in memory


@frozen
class Content:
    """What a table holds. `sum` is of its rows' hashes: it does not depend on their order, which engines see
    each in their own way."""

    rows: int
    sum: str


def content(connection: Connection, rows: FromClause, looked: Callable[[int], object]) -> Content:
    """Read all of a table; `looked` is told how many rows more have been read."""
    columns = [rows.c[name] for name in sorted(rows.c.keys())]
    result = connection.execution_options(yield_per=_AT_ONCE).execute(sa.select(*columns))
    count = total = 0
    for part in result.partitions():
        for row in part:
            hash = hashlib.sha256(repr(tuple(row)).encode(errors="surrogatepass"))
            total += int.from_bytes(hash.digest(), "big")
        count += len(part)
        looked(len(part))
    return Content(count, f"{total % (1 << 256):064x}")
