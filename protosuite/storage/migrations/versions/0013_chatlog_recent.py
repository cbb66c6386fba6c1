"""With SQLite, entries of all rooms come into one place first: a commit of fifty had written to a hundred."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_COLUMNS = "room, slot, author, content, at, session, seq, key, hash"


def upgrade() -> None:
    op.create_table(
        "chatlog_recent",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("room", sa.Integer, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("session", sa.String(32), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("key", sa.String(64)),
        sa.Column("hash", sa.String(32), nullable=False),
    )
    op.create_index("ix_chatlog_recent_slot", "chatlog_recent", ["room", "slot"], unique=True)
    keyed = sa.text("key IS NOT NULL")
    op.create_index(
        "ix_chatlog_recent_key",
        "chatlog_recent",
        ["room", "key"],
        unique=True,
        sqlite_where=keyed,
        postgresql_where=keyed,
    )


def downgrade() -> None:
    # What is in `chatlog_recent` is above the heads of the rooms.
    op.execute(
        f"INSERT INTO chatlog_entry ({_COLUMNS}) SELECT {_COLUMNS} FROM chatlog_recent r"
        " WHERE slot > (SELECT head FROM chatlog_room WHERE id = r.room)"
    )
    last = "(SELECT {} FROM chatlog_entry e WHERE e.room = chatlog_room.id ORDER BY slot DESC LIMIT 1)"
    op.execute(
        f"UPDATE chatlog_room SET head = {last.format('slot')}, hash = {last.format('e.hash')}"
        " WHERE head < (SELECT max(slot) FROM chatlog_recent r WHERE r.room = chatlog_room.id)"
    )
    op.drop_table("chatlog_recent")
