"""What the tables of all services belong to. Each service declares its own in its ``store`` module."""

from typing import Any

from sqlalchemy import MetaData

HEAD = "0015"  # the newest migration; a test holds it against the folder of migrations

# Constraints have names, so that a migration can refer to them on every engine.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


def only_on(dialect: str) -> dict[str, str]:
    """The `info` of a table, or an index, that is there with one engine only."""
    return {"only_on": dialect}


def is_on(item: Any, dialect: str) -> bool:
    """Whether a table or an index is there with an engine."""
    return bool(item.info.get("only_on", dialect) == dialect)
