"""What a client says is in one index, not in four: keys, media and what the desk says have their own."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_TABLE = "mediachat_message"
_KEYS = "uq_mediachat_message_key"
_LAST = sa.text(f"SELECT seq FROM sqlite_sequence WHERE name = '{_TABLE}'")

_Index = tuple[str, list[str], str | None, bool]
_CHAT: _Index = ("chat_id", ["chat_id", "id"], None, False)
_PLACE: _Index = ("place", ["place"], "place IS NOT NULL", False)
_WHOLE: list[_Index] = [
    ("sender", ["chat_id", "sender", "id"], None, False),
    ("sha256", ["sha256"], None, False),
]
_PARTS: list[_Index] = [
    ("desk", ["chat_id", "id"], "sender = 'desk'", False),
    ("key", ["chat_id", "key"], "key IS NOT NULL", True),
    ("media", ["sha256"], "sha256 IS NOT NULL", False),
]


def upgrade() -> None:
    _change(_WHOLE, _PARTS, has_constraint=False)


def downgrade() -> None:
    _change(_PARTS, _WHOLE, has_constraint=True)


def _change(before: list[_Index], after: list[_Index], has_constraint: bool) -> None:
    if op.get_bind().dialect.name != "sqlite":
        _create(after)  # first: while PostgreSQL makes them, messages can be read
        _set_constraint(has_constraint)
        _drop(before)
        return
    # SQLite cannot change a constraint: the table is copied. Its indexes are made anew, for their conditions
    # may not come through, and so is what it knows of ids that were given.
    connection = op.get_bind()
    last = connection.execute(_LAST).scalar()
    _drop([*before, _CHAT, _PLACE])
    _set_constraint(has_constraint)
    _create([_CHAT, _PLACE, *after])
    if last is not None:
        put = sa.text("UPDATE sqlite_sequence SET seq = :last WHERE name = :table")
        connection.execute(put, {"last": last, "table": _TABLE})


def _set_constraint(is_there: bool) -> None:
    with op.batch_alter_table(_TABLE, table_kwargs={"sqlite_autoincrement": True}) as message:
        if is_there:
            message.create_unique_constraint(_KEYS, ["chat_id", "key"])
        else:
            message.drop_constraint(_KEYS, type_="unique")


def _create(indexes: list[_Index]) -> None:
    for name, columns, condition, unique in indexes:
        where = None if condition is None else sa.text(condition)
        op.create_index(
            f"ix_{_TABLE}_{name}", _TABLE, columns, unique=unique, sqlite_where=where, postgresql_where=where
        )


def _drop(indexes: list[_Index]) -> None:
    for name, *_ in indexes:
        op.drop_index(f"ix_{_TABLE}_{name}", _TABLE)
