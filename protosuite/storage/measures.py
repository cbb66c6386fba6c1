"""What a database can tell of itself, and the two small things that it is asked to see whether it works."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field
from sqlalchemy import Connection, text

from protosuite.figures import SIZES, Figure, Histogram, counter, histogram


@define(eq=False, repr=False)
class Measures:
    """How its work went. The writer's thread adds to what is about commits, the reactor's to the rest."""

    commit_requests: Histogram = field(factory=lambda: Histogram(SIZES))
    commit_seconds: Histogram = field(factory=Histogram)
    sync_seconds: Histogram = field(factory=Histogram)
    read_seconds: Histogram = field(factory=Histogram)
    failures: int = 0  # commits that the storage failed
    refused: int = 0  # requests for which there was no room in the queue

    def committed(self, requests: int, began: float, worked: float, ended: float) -> None:
        """A transaction of `requests` began, had done its work, and was on stable storage, at these times."""
        self.commit_requests.observe(requests)
        self.commit_seconds.observe(ended - began)
        self.sync_seconds.observe(ended - worked)

    def figures(self) -> Iterator[Figure]:
        """All of it."""
        for name, doc, value in (
            ("commit_requests", "Writes that share a commit.", self.commit_requests),
            (
                "commit_seconds",
                "Seconds of a transaction that writes, its sync included.",
                self.commit_seconds,
            ),
            (
                "sync_seconds",
                "Seconds of the commit alone, until it is on stable storage.",
                self.sync_seconds,
            ),
            ("read_seconds", "Seconds of a read, from when it is asked for.", self.read_seconds),
        ):
            yield histogram(f"database_{name}", doc, value)
        yield counter("database_failures_total", "Commits that the storage failed.", self.failures)
        yield counter("database_refused_total", "Requests that found no room in the queue.", self.refused)


def revision(connection: Connection) -> str | None:
    """The schema's revision, read from its table."""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def touch(connection: Connection) -> None:
    """Write something that changes nothing: it reaches the disk all the same.

    With a server, what each transaction leaves of itself is enough: this row all nodes would have to share.
    """
    if connection.dialect.name == "sqlite":
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
