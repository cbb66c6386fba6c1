"""With SQLite entries stay where they came, and only where they are is put into the order of their rooms."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_COLUMNS = "room, slot, author, content, at, session, seq, key, hash"
_KEYED = sa.text("key IS NOT NULL")


def _content() -> list[sa.Column]:
    return [
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("session", sa.String(32), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("key", sa.String(64)),
        sa.Column("hash", sa.String(32), nullable=False),
    ]


def _create_in_order_of_coming(name: str) -> None:
    op.create_table(
        name,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("room", sa.Integer, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        *_content(),
    )


def _index_keys(table: str) -> None:
    op.create_index(
        f"ix_{table}_key",
        table,
        ["room", "key"],
        unique=True,
        sqlite_where=_KEYED,
    )


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    _create_in_order_of_coming("chatlog_log")
    op.execute(
        f"INSERT INTO chatlog_log ({_COLUMNS}) SELECT {_COLUMNS} FROM chatlog_entry ORDER BY room, slot"
    )
    op.create_table(
        "chatlog_filed",
        sa.Column("room", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("slot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table("chatlog_filing", sa.Column("upto", sa.BigInteger, primary_key=True, autoincrement=False))
    op.execute("INSERT INTO chatlog_filed SELECT room, slot, id FROM chatlog_log ORDER BY id")
    op.execute("INSERT INTO chatlog_filing SELECT max(id) FROM chatlog_log HAVING max(id) > 0")
    # Those are above the heads of their rooms, and are filed with the next ones.
    op.execute(f"INSERT INTO chatlog_log ({_COLUMNS}) SELECT {_COLUMNS} FROM chatlog_recent ORDER BY id")
    op.drop_table("chatlog_recent")
    op.drop_table("chatlog_entry")
    _index_keys("chatlog_log")


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    _create_in_order_of_coming("chatlog_recent")
    op.create_index("ix_chatlog_recent_slot", "chatlog_recent", ["room", "slot"], unique=True)
    _index_keys("chatlog_recent")
    op.create_table(
        "chatlog_entry",
        sa.Column("room", sa.Integer, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        *_content(),
        sa.PrimaryKeyConstraint("room", "slot", name="pk_chatlog_entry"),
        sqlite_with_rowid=False,
    )
    upto = "(SELECT coalesce(max(upto), 0) FROM chatlog_filing)"
    for table, where, order in (
        ("chatlog_entry", f"id <= {upto}", "room, slot"),
        ("chatlog_recent", f"id > {upto}", "id"),
    ):
        op.execute(
            f"INSERT INTO {table} ({_COLUMNS}) SELECT {_COLUMNS} FROM chatlog_log"
            f" WHERE {where} ORDER BY {order}"
        )
    _index_keys("chatlog_entry")
    for table in ("chatlog_filing", "chatlog_filed", "chatlog_log"):
        op.drop_table(table)
