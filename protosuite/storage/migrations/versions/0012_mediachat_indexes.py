"""What a client says is in one index, not in four: keys, media and what the desk says have their own."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_TABLE = "mediachat_message"
_KEYS = "uq_mediachat_message_key"
_PLACE = ("place", ["place"], "place IS NOT NULL", False)
_LAST = sa.text(f"SELECT seq FROM sqlite_sequence WHERE name = '{_TABLE}'")
_PARTS = (
    ("desk", ["chat_id", "id"], "sender = 'desk'", False),
    ("key", ["chat_id", "key"], "key IS NOT NULL", True),
    ("sha256", ["sha256"], "sha256 IS NOT NULL", False),
)
_WHOLE = (("sender", ["chat_id", "sender", "id"], None, False), ("sha256", ["sha256"], None, False))
_CHAT = ("chat_id", ["chat_id", "id"], None, False)


def upgrade() -> None:
    for name, *_ in _WHOLE:
        op.drop_index(f"ix_{_TABLE}_{name}", _TABLE)
    _change_keys(to_constraint=False)
    _create(_PARTS)


def downgrade() -> None:
    for name, *_ in _PARTS:
        op.drop_index(f"ix_{_TABLE}_{name}", _TABLE)
    _change_keys(to_constraint=True)
    _create(_WHOLE)


def _create(indexes: Sequence[tuple[str, list[str], str | None, bool]]) -> None:
    for name, columns, condition, unique in indexes:
        where = None if condition is None else sa.text(condition)
        op.create_index(
            f"ix_{_TABLE}_{name}", _TABLE, columns, unique=unique, sqlite_where=where, postgresql_where=where
        )


def _change_keys(to_constraint: bool) -> None:
    """Make the constraint, or drop it. SQLite can do neither: the table is copied, its indexes made anew."""
    connection = op.get_bind()
    is_copied = connection.dialect.name == "sqlite"
    if is_copied:
        kept = (_CHAT, _PLACE)
        last = connection.execute(_LAST).scalar()
        for name, *_ in kept:
            op.drop_index(f"ix_{_TABLE}_{name}", _TABLE)
    with op.batch_alter_table(_TABLE, table_kwargs={"sqlite_autoincrement": True}) as message:
        if to_constraint:
            message.create_unique_constraint(_KEYS, ["chat_id", "key"])
        else:
            message.drop_constraint(_KEYS, type_="unique")
    if is_copied:
        _create(kept)
        if last is not None:  # an id is never given again
            put = sa.text("UPDATE sqlite_sequence SET seq = :last WHERE name = :table")
            connection.execute(put, {"last": last, "table": _TABLE})
