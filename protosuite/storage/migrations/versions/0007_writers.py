"""What each node has committed last, for a commit whose answer was lost."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "storage_writer",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("commits", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_storage_writer"),
    )


def downgrade() -> None:
    op.drop_table("storage_writer")
