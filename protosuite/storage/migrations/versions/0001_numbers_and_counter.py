"""Sessions of numbers, and the counter's total."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "numbers_session",
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("seed", sa.LargeBinary(8), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("acknowledged", sa.Integer, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("client", name="pk_numbers_session"),
    )
    op.create_index("ix_numbers_session_used_at", "numbers_session", ["used_at"])
    op.create_table(
        "counter",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("total", sa.String(20), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_counter"),
        sa.CheckConstraint("id = 1", name="ck_counter_one_row"),
    )


def downgrade() -> None:
    op.drop_table("counter")
    op.drop_table("numbers_session")
