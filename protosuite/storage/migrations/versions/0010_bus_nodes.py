"""What nodes of the bus share: events in one order, who has what is owed, and who lives."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("bus_owed", sa.Column("node", sa.String(64), nullable=True))
    free, taken = sa.text("node = ''"), sa.text("node <> ''")
    op.create_index(
        "ix_bus_owed_free", "bus_owed", ["durable", "id"], sqlite_where=free, postgresql_where=free
    )
    op.create_index("ix_bus_owed_node", "bus_owed", ["node"], sqlite_where=taken, postgresql_where=taken)
    op.add_column("bus_topic", sa.Column("position", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "bus_event",
        sa.Column("position", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("topic", sa.String(255), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("content_type", sa.String, nullable=False),
        sa.Column("published_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_bus_event"),
        sa.UniqueConstraint("topic", "sequence", name="uq_bus_event_sequence"),
    )
    op.create_table(
        "bus_head",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("owed", sa.BigInteger, nullable=False),
        sa.Column("forgotten", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.BigInteger, nullable=False),
        sa.Column("retained", sa.BigInteger, nullable=False),
        sa.Column("durables", sa.String(96), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bus_head"),
    )
    op.create_table(
        "bus_node",
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("node", name="pk_bus_node"),
    )


def downgrade() -> None:
    op.drop_table("bus_node")
    op.drop_table("bus_head")
    op.drop_table("bus_event")
    op.drop_column("bus_topic", "position")
    op.drop_index("ix_bus_owed_node", "bus_owed")
    op.drop_index("ix_bus_owed_free", "bus_owed")
    op.drop_column("bus_owed", "node")
