"""Tokens that are good no more, in the database: every node reads them, a program of its own adds to them."""

from __future__ import annotations

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import BigInteger, Column, Connection, String, Table

from protosuite.storage import metadata
from protosuite.storage.upsert import insert

revocations = Table(
    "auth_revocation",
    metadata,
    Column("id", String(64), primary_key=True),  # of the token
    # Milliseconds since the epoch. When the token expires; null where only its id was known: kept for ever.
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger, nullable=False),
)

# Milliseconds past its expiry that a revocation is kept: longer than any node's clock is slow.
_KEPT = 86_400_000


@frozen
class Revocation:
    """A token that was revoked; times in milliseconds since the epoch."""

    id: str
    expires_at: int | None
    revoked_at: int


def read(connection: Connection) -> list[Revocation]:
    """All of them, the latest first."""
    latest = sa.select(revocations).order_by(revocations.c.revoked_at.desc(), revocations.c.id)
    return [Revocation(*row) for row in connection.execute(latest)]


def add(connection: Connection, revocation: Revocation) -> None:
    """Revoke. One that was revoked before stays so, and its expiry is known now if it was not."""
    put = insert(connection, revocations).values(
        id=revocation.id, expires_at=revocation.expires_at, revoked_at=revocation.revoked_at
    )
    known = {"expires_at": sa.func.coalesce(revocations.c.expires_at, put.excluded.expires_at)}
    connection.execute(put.on_conflict_do_update(index_elements=["id"], set_=known))


def is_over(revocation: Revocation, now: int) -> bool:
    """Whether it need not be kept at `now`: nobody takes the token any more."""
    return revocation.expires_at is not None and revocation.expires_at < now - _KEPT


def sweep(connection: Connection, now: int) -> int:
    """Remove those that need not be kept; how many."""
    old = sa.delete(revocations).where(revocations.c.expires_at < now - _KEPT)
    return connection.execute(old).rowcount
