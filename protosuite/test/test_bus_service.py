"""bus/1 from end to end in memory: the service and its store in a real database."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from attrs import evolve
from google.protobuf.message import Message
from twisted.internet.defer import execute, fail
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from protosuite.bus import bus_pb2 as pb
from protosuite.bus import store as stored
from protosuite.bus.server import BusService
from protosuite.bus.store import BusStore
from protosuite.bus.wire import FROM_SERVER, Decoder, encode_reply, encode_request
from protosuite.config import BusConfig
from protosuite.errors import StorageError, StorageFull
from protosuite.logs import TextObserver
from protosuite.testing import HandWorker, MemoryTransport, database, decoded


class Raw:
    """A connection that a test drives by hand, byte for byte."""

    def __init__(self, service: BusService) -> None:
        factory: Any = service.factory()
        self.protocol = factory.buildProtocol(None)
        self.transport: Any = MemoryTransport(self.protocol, True)
        self.protocol.makeConnection(self.transport)

    def send(self, *messages: Message | bytes) -> Raw:
        self.protocol.dataReceived(
            b"".join(m if isinstance(m, bytes) else encode_request(m) for m in messages)
        )
        return self

    def received(self) -> list[Any]:
        return decoded(Decoder(FROM_SERVER), self.transport.getOutBuffer() or b"")

    def events(self) -> list[pb.Event]:
        return [m for m in self.received() if isinstance(m, pb.Event)]

    def codes(self) -> list[str]:
        return [m.code for m in self.received() if isinstance(m, pb.Error)]

    def lose(self) -> None:
        self.protocol.connectionLost()


def publish(topic: str = "a", payload: bytes = b"", id: int = 0) -> pb.Publish:
    return pb.Publish(topic=topic, payload=payload, id=id)


DURABLE = pb.Subscribe(pattern="#", durable="d")


class Fixture(SynchronousTestCase):
    config = BusConfig(max_durable_events=3, max_pending=4, prefetch=2)
    open_database = staticmethod(database)  # as tests with another engine replace it

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.writer = HandWorker(at_once=True)
        self.database = self.open_database(self.mktemp(), self.writer)
        self.addCleanup(self.database.close)
        self.service = self.make_service()

    def make_service(self, **changes: Any) -> BusService:
        """Another service on the same database: the same server after a restart."""
        service = BusService(
            evolve(self.config, **changes), BusStore(self.database), self.clock, self.clock.seconds
        )
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def rows(self, table: str = "bus_owed") -> int:
        with self.database.at_start() as connection:
            return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() or 0)

    def ack(self, raw: Raw, *events: pb.Event) -> None:
        raw.send(*(pb.Ack(delivery=event.delivery) for event in events))


class AnswerTests(Fixture):
    """Echo, add, and what is refused."""

    def test_the_old_client(self) -> None:
        """One bare encoded message gets one bare encoded reply."""
        raw = Raw(self.service)
        raw.protocol.dataReceived(b"\x0a\x07\x0a\x05hello")
        self.assertEqual(raw.transport.getOutBuffer(), b"\x0a\x07\x0a\x05hello")
        raw.protocol.dataReceived(b"\x12\x04\x08\x05\x10\x07")
        self.assertEqual(raw.transport.getOutBuffer(), b"\x12\x02\x08\x0c")

    def test_negative_numbers(self) -> None:
        """Negative int32s, ten bytes each on the wire, add up."""
        raw = Raw(self.service).send(pb.AddRequest(a=-5, b=2), pb.AddRequest(a=-(2**31), b=2**31 - 1))
        self.assertEqual([m.result for m in raw.received()], [-3, -1])

    def test_echoes_cut_anywhere(self) -> None:
        """Echoes are answered in order among others, counted and paced alike, however the stream is cut."""
        texts = ("a", "", "é", "b" * 200, "c", "d")
        bodies: list[Message] = [pb.EchoMessage(content=text) for text in texts]
        image = b"".join(map(encode_request, [*bodies, pb.AddRequest(a=1, b=2), *bodies]))
        wanted = b"".join(map(encode_reply, [*bodies, pb.AddResponse(result=3), *bodies]))
        for cut in range(len(image) + 1):
            raw = Raw(self.service)
            for part in (image[:cut], image[cut:]):
                raw.protocol.dataReceived(part)
            self.assertEqual(raw.transport.getOutBuffer(), wanted)
        self.assertEqual(self.service.traffic.messages, (2 * len(texts) + 1) * (len(image) + 1))

    def test_pipelining(self) -> None:
        """Ten thousand requests in one piece are answered in order, errors in their places."""
        requests: list[Message] = []
        for i in range(5000):
            requests += [pb.EchoMessage(content=str(i)), pb.AddRequest(a=2**31 - 1, b=i % 2)]
        found = Raw(self.service).send(*requests).received()
        self.assertEqual([m.content for m in found[::2]], [str(i) for i in range(5000)])
        self.assertEqual([getattr(m, "code", "") for m in found[1:4:2]], ["", "overflow"])
        self.assertEqual(len(found), 10_000)

    def test_refused_and_going_on(self) -> None:
        """A body that does not parse, and a bad value, are answered by an Error; the stream goes on."""
        raw = Raw(self.service)
        raw.send(b"\x0a\x03\x0a\x01\xff", publish("a..b", id=9), pb.Subscribe(pattern="a.**"))
        raw.send(pb.Ack(delivery=5), pb.Unsubscribe(pattern="x"), pb.EchoMessage(content="x"))
        found = raw.received()
        self.assertEqual(
            [(m.code, m.id) for m in found[:-1]],
            [
                ("bad-message", 0),
                ("bad-topic", 9),
                ("bad-pattern", 0),
                ("unknown-delivery", 0),
                ("not-subscribed", 0),
            ],
        )
        self.assertEqual(found[-1].content, "x")

    def test_refused_and_closed(self) -> None:
        """Where the stream cannot be trusted what came before is answered, then the error, then a close."""
        for image, code in (
            (b"\x42\x00", "unknown-field"),
            (b"\x08\x01", "bad-wire-type"),
            (b"\x0a\xff\xff\xff\x7f", "too-large"),
        ):
            raw = Raw(self.service).send(pb.EchoMessage(content="x"), image)
            found = raw.received()
            self.assertEqual((found[0].content, found[1].code), ("x", code))
            self.assertTrue(raw.transport.disconnecting)

    def test_half_close(self) -> None:
        """R15: a client that sends and closes its side gets its answers, receipts among them."""
        raw = Raw(self.service).send(DURABLE)
        raw.lose()
        raw = Raw(self.service)
        self.writer.at_once = False
        raw.send(pb.EchoMessage(content="x"), publish(id=1))
        raw.protocol.readConnectionLost()
        self.assertFalse(raw.transport.disconnecting)
        self.writer.run()
        self.assertEqual([type(m) for m in raw.received()], [pb.EchoMessage, pb.Receipt])
        self.assertTrue(raw.transport.disconnecting)

    def test_too_many_connections(self) -> None:
        """One above the bound is told and closed."""
        service = self.make_service(max_connections=1)
        kept, refused = Raw(service), Raw(service)
        self.assertEqual((kept.codes(), refused.codes()), ([], ["overloaded"]))
        self.assertTrue(refused.transport.disconnecting)

    def test_draining(self) -> None:
        """At a stop clients get the receipts that they are owed, are told, and closed."""
        Raw(self.service).send(DURABLE).lose()
        self.writer.at_once = False
        raw = Raw(self.service).send(publish(id=1))
        drained = self.service.drain(5)
        self.writer.run()
        found = raw.received()
        self.assertEqual([type(m) for m in found], [pb.Receipt, pb.Error])
        self.assertEqual(found[1].code, "shutting-down")
        raw.lose()
        self.successResultOf(drained)


class EventTests(Fixture):
    """Publishing and best-effort subscriptions."""

    def test_an_event(self) -> None:
        """An event has all that was published, its sequence, its time and its subscription's pattern."""
        one, two = Raw(self.service).send(pb.Subscribe(pattern="a.*")), Raw(self.service)
        two.send(pb.Publish(topic="a.b", payload=b"\x00x", content_type="t", id=3))
        self.assertEqual(two.received(), [pb.Receipt(id=3, sequence=1)])
        at = self.clock.seconds() * 1000
        expected = pb.Event(
            topic="a.b", payload=b"\x00x", content_type="t", sequence=1, published_at=int(at), pattern="a.*"
        )
        self.assertEqual(one.received(), [expected])

    def test_without_an_id_there_is_no_receipt(self) -> None:
        """A publish with id 0 is not answered."""
        self.assertEqual(Raw(self.service).send(publish()).received(), [])

    def test_a_slow_reader(self) -> None:
        """While a client does not read, its queue holds what its depth allows; then it goes on from there."""
        slow, quick = (Raw(self.service).send(pb.Subscribe(pattern="a", depth=2)) for _ in range(2))
        slow.transport.producer.pauseProducing()
        publisher = Raw(self.service)
        for _ in range(5):
            publisher.send(publish())
        self.assertEqual(len(quick.events()), 5)
        self.assertEqual(slow.events(), [])
        slow.transport.producer.resumeProducing()
        self.assertEqual([(e.sequence, e.dropped) for e in slow.events()], [(4, 3), (5, 0)])

    def test_many_at_once(self) -> None:
        """What one segment publishes comes to everybody in order, whoever subscribes or leaves meanwhile."""
        others = [Raw(self.service).send(pb.Subscribe(pattern=pattern)) for pattern in ("a", "#", "a")]
        raw = Raw(self.service)
        subscribe = pb.Subscribe(pattern="a", replay=1)
        raw.send(*[publish()] * 3, subscribe, publish("b"), publish(), pb.Unsubscribe(pattern="a"), publish())
        found = [[(e.topic, e.sequence) for e in one.events()] for one in others]
        only_a = [("a", n) for n in range(1, 6)]
        self.assertEqual(found, [only_a, [*only_a[:3], ("b", 1), *only_a[3:]], only_a])

    def test_nothing_after_its_end(self) -> None:
        """Behind an Unsubscribe nothing of it comes, nor anything twice when it is asked for again."""
        subscribe, end = pb.Subscribe(pattern="a"), pb.Unsubscribe(pattern="a")
        raw = Raw(self.service).send(subscribe)
        self.assertEqual(raw.send(publish(), end).events(), [])
        raw.send(subscribe)
        self.assertEqual(raw.send(publish(), subscribe, publish()).events()[0].sequence, 3)

    def test_replay_of_ones_own(self) -> None:
        """What is published before a subscription in one segment comes by its replay, once."""
        raw = Raw(self.service).send(publish(), publish(), pb.Subscribe(pattern="a", replay=2), publish())
        self.assertEqual([e.sequence for e in raw.events()], [1, 2, 3])

    def test_ones_own_events(self) -> None:
        """A client that publishes what it subscribes to gets answers first, then events, in order."""
        raw = Raw(self.service).send(pb.Subscribe(pattern="a"), publish(id=1), publish(id=2))
        self.assertEqual([getattr(m, "id", None) or m.sequence for m in raw.received()], [1, 2, 1, 2])

    def test_gone_subscribers(self) -> None:
        """A connection that is lost leaves nothing behind."""
        Raw(self.service).send(pb.Subscribe(pattern="a")).lose()
        Raw(self.service).send(publish())
        self.assertEqual(list(self.service.exchange.broker._trie.matching("a")), [])

    def test_the_suites_own(self) -> None:
        """What the other services publish is JSON, and never waits."""
        raw = Raw(self.service).send(pb.Subscribe(pattern="#"))
        self.service.exchange.publish("counter.refused", {"code": "overflow"})
        (event,) = raw.events()
        self.assertEqual(
            (json.loads(event.payload), event.content_type), ({"code": "overflow"}, "application/json")
        )
        Raw(self.service).send(DURABLE).lose()
        for _ in range(5):
            self.service.exchange.publish("counter.refused", {})
        self.assertEqual((self.rows(), self.service.exchange.internal_dropped), (3, 2))


class DurableTests(Fixture):
    """Durable subscriptions and the store."""

    def test_receipt_after_the_commit(self) -> None:
        """The receipt, and the delivery, come when the durable copy is on the disk."""
        one = Raw(self.service).send(DURABLE)
        self.writer.at_once = False
        raw = Raw(self.service).send(publish(id=1))
        self.assertEqual((raw.received(), one.received(), self.rows()), ([], [], 0))
        self.writer.run()
        self.assertEqual(([m.id for m in raw.received()], len(one.events()), self.rows()), ([1], 1, 1))

    def test_answers_after_it_is_stored(self) -> None:
        """R1: what a client asks behind a durable subscription is answered once that is on the disk.

        So an answer says that nothing that is published from then on is lost; to everybody who has joined it.
        """
        self.writer.at_once = False
        both = [Raw(self.service).send(DURABLE, pb.EchoMessage(content="there?")) for _ in range(2)]
        other = Raw(self.service).send(pb.EchoMessage(content="not behind it"))
        self.assertEqual([len(raw.received()) for raw in (*both, other)], [0, 0, 1])
        self.writer.run()
        self.assertEqual([raw.received()[0].content for raw in both], ["there?"] * 2)
        self.assertEqual(self.rows("bus_durable"), 1)
        both[0].send(pb.Unsubscribe(durable="d"), pb.EchoMessage(content="gone?"))
        self.assertEqual((both[0].received(), self.rows("bus_durable")), ([], 1))
        self.writer.run()
        self.assertEqual((both[0].received()[0].content, self.rows("bus_durable")), ("gone?", 0))

    def test_survives_a_restart(self) -> None:
        """Server and client restarted: what was not acknowledged comes again, and sequences go on."""
        one = Raw(self.service).send(DURABLE)
        Raw(self.service).send(publish(), publish())
        first, second = one.events()
        self.ack(one, first)
        self.assertEqual(self.rows(), 1)
        service = self.make_service()
        again = Raw(service).send(DURABLE)
        self.assertEqual([e.sequence for e in again.events()], [2])
        Raw(service).send(publish())
        (third,) = again.events()
        self.assertEqual(third.sequence, 3)
        self.assertGreater(third.delivery, second.delivery)

    def test_a_long_backlog(self) -> None:
        """A backlog of many pages is delivered whole, in order, and the store is empty after it."""
        self.patch(stored, "_PAGE", 50)
        service = self.make_service(max_durable_events=500, prefetch=7, max_pending=500)
        Raw(service).send(DURABLE).lose()
        Raw(service).send(*[publish(payload=b"x" * (n % 3)) for n in range(130)])
        self.assertEqual(self.rows(), 130)
        service = self.make_service(max_durable_events=500, prefetch=7)
        one = Raw(service).send(DURABLE)
        found: list[int] = []
        while events := one.events():
            found += [e.sequence for e in events]
            self.ack(one, *events)
        self.assertEqual(found, list(range(1, 131)))
        self.assertEqual(self.rows(), 0)

    def test_publishers_wait(self) -> None:
        """When it is full a publish waits, what is behind it too, and acknowledging frees them."""
        one = Raw(self.service).send(DURABLE)
        raw = Raw(self.service).send(*[publish(id=n) for n in range(1, 6)], pb.EchoMessage(content="x"))
        self.assertEqual([m.id for m in raw.received()], [1, 2, 3])
        other = Raw(self.service).send(pb.EchoMessage(content="y"))
        self.assertEqual(len(other.received()), 1)
        while events := one.events():
            self.ack(one, *events)
        self.assertEqual([getattr(m, "id", "echo") for m in raw.received()], [4, 5, "echo"])

    def test_a_publisher_that_waits_is_not_read(self) -> None:
        """With `max_pending` publishes waiting a connection is not read; then it goes on in order."""
        one = Raw(self.service).send(DURABLE)
        raw = Raw(self.service).send(*[publish(id=n) for n in range(1, 20)])
        self.assertFalse(raw.transport.reading)
        self.assertEqual(len(raw.protocol._held), 4)
        while events := one.events():
            self.ack(one, *events)
        self.assertEqual([m.id for m in raw.received()], list(range(1, 20)))
        self.assertTrue(raw.transport.reading)

    def test_acknowledging_while_publishing(self) -> None:
        """A client whose own publish waits can acknowledge, and so make room for it."""
        raw = Raw(self.service).send(DURABLE, *[publish(id=n) for n in range(1, 5)])
        found = raw.received()
        self.assertEqual([m.id for m in found if isinstance(m, pb.Receipt)], [1, 2, 3])
        self.ack(raw, *(m for m in found if isinstance(m, pb.Event)))
        self.assertEqual([m.id for m in raw.received() if isinstance(m, pb.Receipt)], [4])

    def test_room_made_by_one_that_goes_on(self) -> None:
        """A publisher that goes on can acknowledge, and so let others go on, in the midst of that."""
        one = Raw(self.service).send(DURABLE)
        first, second = Raw(self.service).send(DURABLE), Raw(self.service)
        first.send(*[publish(id=n) for n in (1, 2, 3)])
        mine = [m for m in first.received() if isinstance(m, pb.Event)]
        # Four publishes wait, the bound; the acknowledgement behind them is not read yet.
        first.send(*[publish(id=n) for n in (4, 5, 6, 7)], pb.Ack(delivery=mine[0].delivery))
        second.send(publish(id=8))
        self.assertEqual(self.service.exchange.publishers_waiting, 2)
        receipts: list[int] = []
        events = one.events()
        while events:
            self.ack(one, *events)
            found = [m for raw in (one, first, second) for m in raw.received()]
            receipts += [m.id for m in found if isinstance(m, pb.Receipt)]
            events = [m for m in found if isinstance(m, pb.Event)]
        self.assertEqual(sorted(receipts), [4, 5, 6, 7, 8])

    def test_waiting_for_too_long(self) -> None:
        """A publish that waited for `publish_timeout` is refused with its id."""
        Raw(self.service).send(DURABLE).lose()
        raw = Raw(self.service).send(*[publish(id=n) for n in range(1, 6)])
        raw.received()
        self.clock.pump([1.0] * 31)
        self.assertEqual([(m.code, m.id) for m in raw.received()], [("overloaded", 4)])
        self.clock.pump([1.0] * 31)
        self.assertEqual([(m.code, m.id) for m in raw.received()], [("overloaded", 5)])

    def test_refused_again_and_again(self) -> None:
        """However much was refused for want of room, the connection is read on behind it."""
        service = self.make_service(max_message=1000)
        Raw(service).send(DURABLE, *[publish()] * 3).lose()
        raw = Raw(service)
        for n in (1, 2, 3):
            raw.send(publish(payload=b"x" * 600, id=n))
            self.clock.pump([1.0] * 31)
            self.assertEqual([m.id for m in raw.received()], [n])
        self.assertTrue(raw.transport.reading)
        self.assertEqual(len(raw.send(pb.EchoMessage(content="x" * 300)).received()), 1)

    def test_much_behind_a_publisher_that_waits(self) -> None:
        """What waits behind a publish is bounded in bytes, whatever it is; all of it is answered then."""
        service = self.make_service(max_message=1000, max_pending=100)
        one = Raw(service).send(DURABLE, *[publish()] * 3)
        raw = Raw(service).send(publish(payload=b"x" * 900, id=1))
        self.assertTrue(raw.transport.reading)
        raw.send(*[pb.EchoMessage(content="x" * 300)] * 20)
        self.assertFalse(raw.transport.reading)
        self.assertEqual(len(raw.protocol._held), 2)
        while events := one.events():
            self.ack(one, *events)
        self.assertEqual(len(raw.received()), 21)
        self.assertTrue(raw.transport.reading)

    def test_gone_while_it_waits(self) -> None:
        """A publisher that is refused for something else while it waits holds up no other's refusal."""
        Raw(self.service).send(DURABLE, *[publish()] * 3).lose()
        first = Raw(self.service).send(publish(id=1))
        second = Raw(self.service).send(publish(id=2))
        self.clock.pump([1.0] * 29)
        first.send(b"\x42\x00")
        self.assertEqual(first.codes(), ["unknown-field"])
        self.assertEqual(self.service.exchange.publishers_waiting, 1)
        self.clock.pump([1.0] * 3)
        self.assertEqual([(m.code, m.id) for m in second.received()], [("overloaded", 2)])

    def test_redelivery(self) -> None:
        """After `ack_timeout` an event is delivered again; an exception on the way does not end that."""
        one = Raw(self.service).send(DURABLE)
        Raw(self.service).send(publish())
        (event,) = one.events()
        two = Raw(self.service).send(DURABLE)
        expire: Any = self.service.exchange.broker.durables
        self.service.exchange.broker.durables = None  # type: ignore[assignment]
        self.clock.pump([1.0] * 29)
        self.service.exchange.broker.durables = expire
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 29)
        one.lose()
        self.assertEqual([e.delivery for e in two.events()], [event.delivery])
        self.clock.pump([1.0] * 31)
        self.assertEqual([e.delivery for e in two.events()], [event.delivery])

    def test_a_share_is_replaced(self) -> None:
        """What was with a subscription that another one replaces goes to who shares it, at once."""
        for other in (pb.Subscribe(pattern="#"), pb.Subscribe(pattern="#", durable="e")):
            one = Raw(self.service).send(pb.Subscribe(pattern="#", durable="d", prefetch=9))
            two = Raw(self.service).send(pb.Subscribe(pattern="#", durable="d", prefetch=9))
            Raw(self.service).send(publish(), publish())
            mine, others = one.events(), two.events()
            self.assertEqual(len(mine) + len(others), 2)
            one.send(other)
            found = others + two.events()
            self.assertEqual(len(found), 2)
            self.ack(two, *found)
            for raw in (one, two):
                raw.lose()

    def test_large_ones(self) -> None:
        """R16: what a connection has to acknowledge is bounded in bytes, but one event may always be."""
        service = self.make_service(max_durable_events=100, max_pending=100, prefetch=50, max_backlog=1024)
        raw = Raw(service).send(
            pb.Subscribe(pattern="a", durable="d"), pb.Subscribe(pattern="#", durable="e")
        )
        Raw(service).send(*[publish(payload=b"x" * 500)] * 6)
        seen: list[tuple[str, int]] = []
        while events := raw.events():
            self.assertLessEqual(sum(len(event.payload) for event in events), 1500)
            seen += [(event.pattern, event.sequence) for event in events]
            self.ack(raw, *events)
        self.assertEqual(sorted(seen), [(pattern, n) for pattern in "#a" for n in range(1, 7)])
        self.assertEqual(self.rows(), 0)
        self.assertEqual(raw.protocol._subscriber.unacknowledged_bytes, 0)

    def test_large_ones_that_nobody_acknowledges(self) -> None:
        """What counts against that bound is let go with the share, the subscription, or the time."""
        service = self.make_service(max_durable_events=100, max_pending=100, prefetch=50, max_backlog=1024)
        raw = Raw(service).send(DURABLE, *[publish(payload=b"x" * 500)] * 4)
        subscriber = raw.protocol._subscriber
        for end in (pb.Unsubscribe(pattern="#"), pb.Unsubscribe(pattern="#", durable="d")):
            self.assertEqual(len(raw.events()), 2)
            self.assertGreater(subscriber.unacknowledged_bytes, 1000)
            self.clock.pump([1.0] * 31)
            self.assertEqual(len(raw.events()), 2)
            raw.send(end)
            self.assertEqual(subscriber.unacknowledged_bytes, 0)
            raw.send(DURABLE)

    def test_deleting(self) -> None:
        """A deleted durable subscription leaves no row, also of what was being stored."""
        raw = Raw(self.service).send(DURABLE, publish())
        self.writer.at_once = False
        raw.send(publish(), publish(), pb.Unsubscribe(pattern="#", durable="d"))
        self.writer.run()
        self.assertEqual((self.rows(), self.rows("bus_durable")), (0, 0))
        raw.send(DURABLE, publish())
        self.writer.run()
        self.assertEqual((self.rows(), self.rows("bus_durable")), (1, 1))

    def test_a_durable_subscription_that_is_not_stored_is_none(self) -> None:
        """When it cannot be stored the client is told, and nothing is kept for it."""

        def fail() -> None:
            raise StorageFull("no room")

        store: Any = self.service.exchange.store
        store.create = lambda name, pattern: execute(fail)
        raw = Raw(self.service).send(DURABLE, pb.EchoMessage(content="and on"))
        refusal, echo = raw.received()
        self.assertEqual((refusal.code, echo.content), ("overloaded", "and on"))
        self.assertIn("the durable subscription d cannot be stored now", refusal.message)
        self.assertEqual(self.service.exchange.broker.durables, {})


class FileTests(Fixture):
    """What only a node alone does, and on SQLite's own disk."""

    def test_full_disk(self) -> None:
        """What cannot be stored is refused with its id, is owed to nobody, and later ones are stored."""
        one = Raw(self.service).send(DURABLE)
        with self.database.at_start() as connection:
            (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        # More than the pages that migrations have left free.
        raw = Raw(self.service).send(publish(payload=b"x" * 60_000, id=1))
        self.assertEqual([(m.code, m.id) for m in raw.received()], [("overloaded", 1)])
        with self.database.at_start() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 100000")
        raw.send(publish(payload=b"x" * 9000, id=2))
        self.assertEqual([m.id for m in raw.received()], [2])
        self.assertEqual([e.sequence for e in one.events()], [2])

    def test_a_backlog_that_cannot_be_read(self) -> None:
        """It is tried again every second, and the log is not filled with that."""
        names = [f"d{n}" for n in range(20)]
        Raw(self.service).send(*[pb.Subscribe(pattern="#", durable=name) for name in names], publish()).lose()
        service = self.make_service()
        out = StringIO()
        observer = TextObserver(out)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        store: Any = service.exchange.store
        reading, store.page = store.page, lambda durable, after: fail(StorageError("away"))
        consumers = [Raw(service).send(pb.Subscribe(pattern="#", durable=name)) for name in names]
        self.clock.pump([1.0] * 9)
        self.assertIn("the backlog of d0 cannot be read: away\n", out.getvalue())
        self.assertLessEqual(out.getvalue().count("cannot be read"), 10)
        store.page = reading
        self.clock.advance(1)
        self.assertEqual([len(each.events()) for each in consumers], [1] * 20)
