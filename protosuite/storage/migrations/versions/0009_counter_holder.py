"""Who has the counter's total: one process, or a Redis."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("counter", sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"))
    for name in ("holder", "claim"):
        op.add_column("counter", sa.Column(name, sa.String(48), nullable=False, server_default=""))


def downgrade() -> None:
    for name in ("claim", "holder", "epoch"):
        op.drop_column("counter", name)
