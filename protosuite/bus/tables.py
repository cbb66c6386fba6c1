"""The tables of the bus. Of the last three a node alone uses only what the head says of forgotten topics."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, UniqueConstraint

from protosuite.storage import metadata
from protosuite.storage.locking import LAST

durables = Table(
    "bus_durable",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("pattern", String(255), nullable=False),
)
owed_events = Table(
    "bus_owed",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("durable", String(64), nullable=False),
    Column("topic", String(255), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("content_type", String, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    # Which of several nodes has it; empty: none. A node alone leaves it out, and the indexes without work.
    Column("node", String(64)),
    Index("ix_bus_owed_durable_id", "durable", "id"),
    # On PostgreSQL the migration gives their conditions: to name that dialect imports it at every start.
    Index("ix_bus_owed_free", "durable", "id", sqlite_where=sa.text("node = ''")),
    Index("ix_bus_owed_node", "node", sqlite_where=sa.text("node <> ''")),
)
# The last sequence of each topic that is remembered: with one node of those that a durable subscription has
# ever matched.
topics = Table(
    "bus_topic",
    metadata,
    Column("topic", String(255), primary_key=True),
    Column("sequence", BigInteger, nullable=False, index=True),
    Column("position", BigInteger, nullable=False, server_default="0"),  # of its last event
)
# What all nodes have published, one behind the other; what is in here is there to be read and replayed.
events = Table(
    "bus_event",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("topic", String(255), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("content_type", String, nullable=False),
    Column("published_at", BigInteger, nullable=False),  # milliseconds since the epoch
    UniqueConstraint("topic", "sequence", name="uq_bus_event_sequence"),
)
# One row. Whoever publishes, or changes durable subscriptions, has it locked until its commit.
head = Table(
    "bus_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),  # of the last event
    Column("owed", BigInteger, nullable=False),  # the last id that was given in bus_owed
    Column("forgotten", BigInteger, nullable=False),  # no sequence of a topic without a row is above this
    Column("deleted", BigInteger, nullable=False),  # the highest position of an event that was deleted
    Column("retained", BigInteger, nullable=False),  # bytes of all payloads in bus_event
    Column("durables", String(96), nullable=False),  # another one with every change of durable subscriptions
    info={LAST: True},
)
FIRST_HEAD = {"id": 1, "position": 0, "owed": 0, "forgotten": 0, "deleted": 0, "retained": 0, "durables": ""}
# Which nodes live. What is in bus_owed under the name of another one is free again.
nodes = Table(
    "bus_node",
    metadata,
    Column("node", String(64), primary_key=True),
    Column("until", BigInteger, nullable=False),  # milliseconds since the epoch, by the database's clock
)
