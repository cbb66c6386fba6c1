"""Chats with media, and their messages."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "mediachat_chat",
        sa.Column("id", _ID, nullable=False),
        sa.Column("client_id", sa.BigInteger, nullable=False),
        sa.Column("timezone", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_message_at", sa.BigInteger),
        sa.Column("active_at", sa.BigInteger, nullable=False),
        sa.Column("unread", sa.Integer, nullable=False),
        sa.Column("delivered", sa.BigInteger, nullable=False),
        sa.Column("media_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mediachat_chat"),
        sa.UniqueConstraint("client_id", name="uq_mediachat_chat_client_id"),
    )
    op.create_index("ix_mediachat_chat_active", "mediachat_chat", ["active_at", "id"])
    op.create_table(
        "mediachat_message",
        sa.Column("id", _ID, nullable=False),
        sa.Column("chat_id", sa.BigInteger, nullable=False),
        sa.Column("sender", sa.String(6), nullable=False),
        sa.Column("kind", sa.String(5), nullable=False),
        sa.Column("status", sa.String(9), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("name", sa.String(255)),
        sa.Column("size", sa.BigInteger),
        sa.Column("type", sa.String(255)),
        sa.Column("sha256", sa.String(64)),
        sa.Column("key", sa.String(80)),
        sa.PrimaryKeyConstraint("id", name="pk_mediachat_message"),
        sa.ForeignKeyConstraint(["chat_id"], ["mediachat_chat.id"], name="fk_mediachat_message_chat_id"),
        sa.UniqueConstraint("chat_id", "key", name="uq_mediachat_message_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_mediachat_message_chat_id", "mediachat_message", ["chat_id", "id"])
    op.create_index("ix_mediachat_message_sender", "mediachat_message", ["chat_id", "sender", "id"])
    op.create_index("ix_mediachat_message_sha256", "mediachat_message", ["sha256"])


def downgrade() -> None:
    op.drop_table("mediachat_message")
    op.drop_table("mediachat_chat")
