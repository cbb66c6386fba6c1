"""Votes by choice."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "tally_votes",
        sa.Column("choice", sa.String(32), nullable=False),
        sa.Column("votes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("choice", name="pk_tally_votes"),
    )


def downgrade() -> None:
    op.drop_table("tally_votes")
