"""The chats that have something unread are found without looking at all the others."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    unread = sa.text("unread > 0")
    op.create_index(
        "ix_mediachat_chat_awaiting",
        "mediachat_chat",
        ["active_at", "id"],
        sqlite_where=unread,
        postgresql_where=unread,
    )


def downgrade() -> None:
    op.drop_index("ix_mediachat_chat_awaiting", "mediachat_chat")
