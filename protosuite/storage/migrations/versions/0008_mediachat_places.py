"""In which order several nodes have stored messages, and what has changed of chats."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_TABLES = ("mediachat_chat", "mediachat_message")


def upgrade() -> None:
    op.create_table(
        "mediachat_lane",
        sa.Column("lane", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("lane", name="pk_mediachat_lane"),
    )
    placed = sa.text("place IS NOT NULL")
    for table in _TABLES:
        op.add_column(table, sa.Column("place", sa.BigInteger))
        op.create_index(f"ix_{table}_place", table, ["place"], sqlite_where=placed, postgresql_where=placed)


def downgrade() -> None:
    for table in _TABLES:
        op.drop_index(f"ix_{table}_place", table)
        op.drop_column(table, "place")
    op.drop_table("mediachat_lane")
