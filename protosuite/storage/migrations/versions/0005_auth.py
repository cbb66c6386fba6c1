"""Tokens that have been revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "auth_revocation",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_auth_revocation"),
    )


def downgrade() -> None:
    op.drop_table("auth_revocation")
