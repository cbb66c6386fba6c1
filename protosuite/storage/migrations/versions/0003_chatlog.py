"""Rooms of the chat log, and their entries."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "chatlog_room",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("epoch", sa.String(32), nullable=False),
        sa.Column("head", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(32), nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chatlog_room"),
        sa.UniqueConstraint("name", name="uq_chatlog_room_name"),
    )
    op.create_table(
        "chatlog_entry",
        sa.Column("room", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("slot", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("session", sa.String(32), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("key", sa.String(64)),
        sa.Column("hash", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("room", "slot", name="pk_chatlog_entry"),
        sa.UniqueConstraint("room", "key", name="uq_chatlog_entry_key"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("chatlog_entry")
    op.drop_table("chatlog_room")
