"""Durable subscriptions of the bus, what they are owed, and the sequences of their topics."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "bus_durable",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("pattern", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_bus_durable"),
    )
    op.create_table(
        "bus_owed",
        sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("durable", sa.String(64), nullable=False),
        sa.Column("topic", sa.String(255), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("content_type", sa.String, nullable=False),
        sa.Column("published_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bus_owed"),
    )
    op.create_index("ix_bus_owed_durable_id", "bus_owed", ["durable", "id"])
    op.create_table(
        "bus_topic",
        sa.Column("topic", sa.String(255), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("topic", name="pk_bus_topic"),
    )
    op.create_index("ix_bus_topic_sequence", "bus_topic", ["sequence"])


def downgrade() -> None:
    op.drop_table("bus_topic")
    op.drop_table("bus_owed")
    op.drop_table("bus_durable")
