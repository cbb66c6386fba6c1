"""Every store's tests again, and the database's own, with PostgreSQL in the place of SQLite."""

from __future__ import annotations

from sqlalchemy import URL

from protosuite.storage import Database
from protosuite.storage.timeouts import Timeouts
from protosuite.test import (
    test_auth_guard,
    test_bus_forgetting,
    test_bus_nodes,
    test_bus_service,
    test_chatlog_store,
    test_counter_service,
    test_counter_store,
    test_mediachat_cuts,
    test_mediachat_store,
    test_numbers_service,
    test_storage,
)
from protosuite.testing import HandWorker, database
from tests import postgresql

_PATIENT = Timeouts(whole=300, connect=60, lock=300)  # seconds: nothing here is about time


class OnPostgreSQL:
    """A fixture whose databases are PostgreSQL's: one for each folder that SQLite would have one in."""

    def open_database(self, folder: str, writer: HandWorker | None = None, max_queue: int = 1000) -> Database:
        cluster = postgresql.shared()
        names: dict[str, str] = self.__dict__.setdefault("_names", {})
        if folder not in names:
            names[folder] = cluster.database()
        return database(folder, writer, max_queue, cluster.url(names[folder]), _PATIENT)


class GroupCommitTests(OnPostgreSQL, test_storage.GroupCommitTests):  # type: ignore[misc]
    """Many requests, one commit."""


class SchemaTests(OnPostgreSQL, test_storage.SchemaTests):  # type: ignore[misc]
    """R7 and R8: migrations, and databases that are not ours to touch."""


class NumbersTests(OnPostgreSQL, test_numbers_service.ServerTests):  # type: ignore[misc]
    """Sessions."""


class CounterTests(OnPostgreSQL, test_counter_service.EverysecTests):  # type: ignore[misc]
    """The total, stored now and then."""


class CounterAlwaysTests(OnPostgreSQL, test_counter_service.AlwaysTests):  # type: ignore[misc]
    """The total, stored before each answer."""


class CounterStoreTests(OnPostgreSQL, test_counter_store.StoreTests):  # type: ignore[misc]
    """Who has the total."""


class CounterTakenTests(OnPostgreSQL, test_counter_store.TakenTests):  # type: ignore[misc]
    """Two who count on one database."""


class BusTests(OnPostgreSQL, test_bus_service.DurableTests):  # type: ignore[misc]
    """What durable subscriptions are owed."""


class BusForgettingTests(OnPostgreSQL, test_bus_forgetting.ForgettingTests):  # type: ignore[misc]
    """Topics that a node alone forgets."""


class BusLeftOutTests(OnPostgreSQL, test_bus_forgetting.StartTests):  # type: ignore[misc]
    """Topics that a start of one leaves out."""


class BusOfNodes(OnPostgreSQL):
    """A fixture of several nodes on one database."""

    def url(self, folder: str) -> URL:
        return self.open_database(folder).url


class BusEventsTests(BusOfNodes, test_bus_nodes.LiveTests):
    """Events of several nodes, in one order."""


class BusKeepingTests(BusOfNodes, test_bus_nodes.KeepingTests):
    """What is kept of them."""


class BusSharingTests(BusOfNodes, test_bus_nodes.DurableTests):
    """What durable subscriptions are owed, and which node has it."""


class RevocationTests(OnPostgreSQL, test_auth_guard.LiveTests):  # type: ignore[misc]
    """Tokens that are taken back."""


class LogCommitTests(OnPostgreSQL, test_chatlog_store.CommitTests):  # type: ignore[misc]
    """Slots are given in the transaction that stores them."""


class LogKeyTests(OnPostgreSQL, test_chatlog_store.KeyTests):  # type: ignore[misc]
    """A key is stored once."""


class LogFailureTests(OnPostgreSQL, test_chatlog_store.FailureTests):  # type: ignore[misc]
    """What is not committed is not there at all."""


class LogPageTests(OnPostgreSQL, test_chatlog_store.PageTests):  # type: ignore[misc]
    """Reading."""


class LogSweepTests(OnPostgreSQL, test_chatlog_store.SweepTests):  # type: ignore[misc]
    """What need not be kept."""


class CutTests(OnPostgreSQL, test_mediachat_cuts.CutTests):  # type: ignore[misc]
    """What several nodes have stored."""


class ChatTests(OnPostgreSQL, test_mediachat_store.StoreTests):  # type: ignore[misc]
    """Chats, and their messages."""
