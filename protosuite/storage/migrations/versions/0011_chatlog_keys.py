"""Entries without a key are not in the index of keys: each append had written to it."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

# SQLite cannot drop a constraint: the table is copied, and clustered by slot as it was.
_CLUSTERED = {"sqlite_with_rowid": False}


def upgrade() -> None:
    keyed = sa.text("key IS NOT NULL")
    op.create_index(  # first: while PostgreSQL makes it, entries can be read
        "ix_chatlog_entry_key",
        "chatlog_entry",
        ["room", "key"],
        unique=True,
        sqlite_where=keyed,
        postgresql_where=keyed,
    )
    with op.batch_alter_table("chatlog_entry", table_kwargs=_CLUSTERED) as entry:
        entry.drop_constraint("uq_chatlog_entry_key", type_="unique")


def downgrade() -> None:
    op.drop_index("ix_chatlog_entry_key", "chatlog_entry")
    with op.batch_alter_table("chatlog_entry", table_kwargs=_CLUSTERED) as entry:
        entry.create_unique_constraint("uq_chatlog_entry_key", ["room", "key"])
