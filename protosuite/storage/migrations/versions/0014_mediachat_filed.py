"""With SQLite the messages of a chat are filed by the thousand: their index was most of what was written."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_INDEX = "ix_mediachat_message_chat_id"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.create_table(
        "mediachat_filed",
        sa.Column("chat_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "mediachat_filing", sa.Column("upto", sa.BigInteger, primary_key=True, autoincrement=False)
    )
    op.execute("INSERT INTO mediachat_filed SELECT chat_id, id FROM mediachat_message ORDER BY chat_id, id")
    op.execute("INSERT INTO mediachat_filing SELECT max(id) FROM mediachat_message HAVING max(id) > 0")
    op.drop_index(_INDEX, "mediachat_message")


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.create_index(_INDEX, "mediachat_message", ["chat_id", "id"])
    op.drop_table("mediachat_filing")
    op.drop_table("mediachat_filed")
