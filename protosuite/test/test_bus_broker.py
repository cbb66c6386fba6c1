"""The rules of the event bus."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from protosuite.bus.broker import Broker, Published
from protosuite.bus.delivery import Delivery, Event, Subscriber
from protosuite.bus.durable import Consumer, Durable, Limits, Owed
from protosuite.bus.fanout import FanOut
from protosuite.bus.opening import Opening
from protosuite.errors import BadRequest


def subscriber(max_queued: int = 1 << 20) -> Subscriber:
    return Subscriber(max_queued, lambda: None)


def taken(subscriber: Subscriber) -> list[Delivery]:
    """Everything that a subscriber has to send."""
    return list(subscriber.take())


def topics_of(deliveries: list[Delivery]) -> list[tuple[str, int]]:
    return [(d.event.topic, d.event.sequence) for d in deliveries]


class Fixture(SynchronousTestCase):
    limits = Limits()

    def setUp(self) -> None:
        self.broker = Broker(self.limits)

    def publish(self, topic: str, payload: bytes = b"", *, store: bool = True) -> Published:
        """Publish, and by default store the durable copies at once."""
        published = self.broker.publish(topic, payload, "", 0)
        for subscription in published.to:
            subscription.offer(published.event)
        if store:
            for owed in published.owed:
                owed.durable.stored(owed)
        return published

    def refuses(self, code: str, call: Any, *args: Any) -> None:
        with self.assertRaises(BadRequest) as caught:
            call(*args)
        self.assertEqual(caught.exception.code, code)


class BestEffortTests(Fixture):
    """Subscriptions that drop."""

    limits = Limits(
        retain=3, depth=4, max_depth=5, max_topics=3, max_retained=2000, max_subscriptions=3, max_durables=1
    )

    def test_order_and_sequence(self) -> None:
        """A topic's events come in the order they were published, numbered from 1."""
        one = subscriber()
        self.broker.subscribe(one, "a.*", 0, 0)
        for topic in ("a.x", "a.y", "a.x", "b"):
            self.publish(topic)
        self.assertEqual(topics_of(taken(one)), [("a.x", 1), ("a.y", 1), ("a.x", 2)])

    def test_each_subscription_gets_its_copy(self) -> None:
        """Two patterns of one connection that match give two events, each with its pattern."""
        one = subscriber()
        for pattern in ("#", "a"):
            self.broker.subscribe(one, pattern, 0, 0)
        self.publish("a")
        self.assertEqual({d.pattern for d in taken(one)}, {"#", "a"})

    def test_the_oldest_are_dropped(self) -> None:
        """A full queue drops its oldest, and the next event says how many."""
        one = subscriber()
        self.broker.subscribe(one, "a", 2, 0)
        for _ in range(5):
            self.publish("a")
        self.assertEqual([(d.event.sequence, d.dropped) for d in taken(one)], [(4, 3), (5, 0)])

    def test_a_slow_one_costs_itself_only(self) -> None:
        """What one subscriber drops, another that takes gets."""
        slow, quick = subscriber(), subscriber()
        for each in (slow, quick):
            self.broker.subscribe(each, "a", 2, 0)
        got = []
        for _ in range(5):
            self.publish("a")
            got += taken(quick)
        self.assertEqual([d.event.sequence for d in got], [1, 2, 3, 4, 5])
        self.assertEqual([d.dropped for d in got], [0] * 5)

    def test_bounded_in_bytes(self) -> None:
        """A connection's queues are bounded in bytes too."""
        one = subscriber(max_queued=3000)
        self.broker.subscribe(one, "a", 0, 0)
        for _ in range(4):
            self.publish("a", b"x" * 1000)
        self.assertLessEqual(one.queued_bytes, 3000)
        self.assertEqual([(d.event.sequence, d.dropped) for d in taken(one)], [(3, 2), (4, 0)])
        self.assertEqual(one.queued_bytes, 0)

    def test_turns(self) -> None:
        """Subscriptions of one connection take turns: a busy one does not starve another."""
        one = subscriber()
        for pattern in ("busy", "rare"):
            self.broker.subscribe(one, pattern, 0, 0)
        for topic in ("busy", "busy", "busy", "rare"):
            self.publish(topic)
        self.assertEqual([d.event.topic for d in taken(one)][:2], ["busy", "rare"])

    def test_replay(self) -> None:
        """With `replay` the last events of each topic come first, in their order, then new ones."""
        for topic in ("a", "b", "a", "a", "b"):
            self.publish(topic)
        one = subscriber()
        self.broker.subscribe(one, "#", 0, 2)
        self.publish("b")
        expected = [("b", 1), ("a", 2), ("a", 3), ("b", 2), ("b", 3)]
        self.assertEqual(topics_of(taken(one)), expected[1:])  # depth is 4: the oldest was dropped
        two = subscriber()
        self.broker.subscribe(two, "#", 9, 9)
        self.assertEqual(taken(two)[0].dropped, 1)  # depth is at most 5, and 6 are kept

    def test_replay_of_much(self) -> None:
        """Of many topics the newest events come, in their order, and how many others there were is said."""
        self.broker = Broker(Limits(retain=5))
        chance = Random(1)
        published = [self.publish(f"t.{chance.randrange(20)}").event for _ in range(200)]
        for depth, replay in ((7, 3), (30, 5), (99, 1)):
            wanted = [
                event
                for place, event in enumerate(published)
                if sum(each.topic == event.topic for each in published[place:]) <= replay
            ]
            one = subscriber()
            self.broker.subscribe(one, "t.*", depth, replay)
            found = taken(one)
            self.assertEqual([delivery.event for delivery in found], wanted[-depth:])
            self.assertEqual(sum(delivery.dropped for delivery in found), len(wanted) - len(found))

    def test_retention(self) -> None:
        """At most `retain` events a topic are kept, and `max_retained` bytes of all."""
        for _ in range(5):
            self.publish("a")
        one = subscriber()
        self.broker.subscribe(one, "a", 0, 5)
        self.assertEqual([d.event.sequence for d in taken(one)], [3, 4, 5])
        self.publish("b", b"x" * 1700)
        self.broker.subscribe(one, "#", 0, 5)
        self.assertEqual(topics_of(taken(one)), [("b", 1)])

    def test_forgotten_topics_do_not_go_back(self) -> None:
        """Above `max_topics` the least recent are forgotten; a sequence is never below what it was."""
        for topic in ("a", "a", "b", "c", "d"):
            self.publish(topic)
        self.assertGreater(self.publish("a").event.sequence, 2)
        self.assertEqual([self.publish("d").event.sequence for _ in range(2)], [4, 5])

    def test_replacing_and_ending(self) -> None:
        """A second subscription for a pattern replaces the first; one that is ended gets nothing."""
        one = subscriber()
        self.broker.subscribe(one, "a", 1, 0)
        self.broker.subscribe(one, "a", 3, 0)
        for _ in range(3):
            self.publish("a")
        self.assertEqual(len(taken(one)), 3)
        self.publish("a")
        self.broker.unsubscribe(one, "a")
        self.publish("a")
        self.assertEqual((taken(one), one.queued_bytes), ([], 0))
        self.refuses("not-subscribed", self.broker.unsubscribe, one, "a")

    def test_bounds(self) -> None:
        """Subscriptions and durable subscriptions have bounds, and patterns a form."""
        one = subscriber()
        for pattern in ("a", "b", "c"):
            self.broker.subscribe(one, pattern, 0, 0)
        self.refuses("overloaded", self.broker.subscribe, one, "d", 0, 0)
        self.refuses("bad-pattern", self.broker.subscribe, one, "a..b", 0, 0)
        two = subscriber()
        self.broker.join(two, "a", "one", 0)
        self.refuses("overloaded", self.broker.join, two, "b", "two", 0)
        self.refuses("bad-durable", self.broker.join, two, "b", "one", 0)
        self.refuses("bad-durable", self.broker.join, two, "b", "x" * 65, 0)

    def test_many_of_each(self) -> None:
        """1,000 subscriptions and 10,000 publishes: every one gets exactly what it asked for."""
        broker = self.broker = Broker(Limits(max_topics=100, retain=0))
        subscribers = []
        for i in range(1000):
            one = subscriber(1 << 40)
            pattern = (f"sensor.{i % 50}", f"sensor.{i % 50}.#", f"*.{i % 50}", f"other.{i}")[i % 4]
            broker.subscribe(one, pattern, 1000, 0)
            subscribers.append((one, f"sensor.{i % 50}" if i % 4 < 3 else None))
        counts = dict.fromkeys(range(1000), 0)
        for n in range(10_000):
            published = broker.publish(f"sensor.{n % 100}", b"", "", 0)
            for subscription in published.to:
                subscription.offer(published.event)
                self.assertTrue(subscription.subscriber.is_waiting)
        for i, (one, topic) in enumerate(subscribers):
            found = taken(one)
            counts[i] = len(found)
            self.assertTrue(all(d.event.topic == topic and not d.dropped for d in found))
            self.assertEqual([d.event.sequence for d in found], list(range(1, len(found) + 1)))
        self.assertEqual(counts, {i: 100 if i % 4 < 3 else 0 for i in range(1000)})


class OpeningTests(Fixture):
    """Subscriptions that do not know yet where they begin."""

    def test_what_it_loses(self) -> None:
        """What came before the place where it begins is no loss, whether there was room for it or not."""
        for position, expected in ((4, [(5, 0)]), (3, [(4, 0), (5, 0)]), (1, [(4, 2), (5, 0)])):
            broker, one = Broker(self.limits), subscriber()
            opening = broker.begin(Opening, one, "a", 2)
            for place in range(1, 6):
                opening.offer(Event("a", b"", "", place, 0, place))
            self.assertEqual(taken(one), [])
            opening.open((), position)
            self.assertEqual([(each.event.sequence, each.dropped) for each in taken(one)], expected)
            self.assertEqual((broker.dropped.count, one.queued_bytes), (expected[0][1], 0))


class FanOutTests(Fixture):
    """Events that are handed on together."""

    def setUp(self) -> None:
        super().setUp()
        self.fan_out = FanOut(lambda event, pattern: f"{pattern}:{event.topic}{event.sequence} ".encode())
        self.passed: list[bytes] = []

    def quick(self) -> Subscriber:
        """A subscriber that takes everything at once."""

        def pass_on(data: bytes) -> bool:
            self.passed.append(data)
            return True

        return Subscriber(1 << 20, lambda: None, pass_on)

    def spread(self, *topics: str, payload: bytes = b"") -> None:
        """Publish to these topics, by way of the fan-out."""
        for topic in topics:
            published = self.broker.publish(topic, payload, "", 0)
            self.fan_out.add(published.event, published.to)

    def test_together(self) -> None:
        """What is held goes out in one piece a subscriber, in order; without a hold each event at once."""
        for pattern in ("a", "#"):
            self.broker.subscribe(self.quick(), pattern, 0, 0)
        self.spread("a")
        self.assertEqual(sorted(self.passed), [b"#:a1 ", b"a:a1 "])
        self.passed.clear()
        self.fan_out.hold()
        self.spread("a", "a")
        self.assertEqual(self.passed, [])
        self.fan_out.release()
        self.assertEqual(sorted(self.passed), [b"#:a2 #:a3 ", b"a:a2 a:a3 "])

    def test_different_topics(self) -> None:
        """Events of different topics stay in their order for who gets all of them."""
        self.broker.subscribe(self.quick(), "#", 0, 0)
        self.broker.subscribe(subscriber(), "b", 0, 0)
        self.fan_out.hold()
        self.spread("a", "b", "c", "a")
        self.fan_out.release()
        self.assertEqual(b"".join(self.passed), b"#:a1 #:b1 #:c1 #:a2 ")

    def test_behind(self) -> None:
        """R16: who is behind has events queued and the oldest dropped, and the next behind those."""
        slow = subscriber()
        self.broker.subscribe(slow, "a", 2, 0)
        self.fan_out.hold()
        self.spread("a", "a", "a")
        self.fan_out.release()
        self.assertEqual([(d.event.sequence, d.dropped) for d in taken(slow)], [(2, 1), (3, 0)])

    def test_nothing_overtakes(self) -> None:
        """An event never goes past one that waits, nor past the word that some were lost."""
        one = self.quick()
        self.broker.subscribe(one, "a", 1, 0)
        (queued,) = self.broker._matching("a")[0]
        queued.offer(self.broker.publish("a", b"", "", 0).event)
        self.spread("a")
        self.assertEqual(self.passed, [])
        self.assertEqual([(d.event.sequence, d.dropped) for d in taken(one)], [(2, 1)])

    def test_bound(self) -> None:
        """What is held is bounded: when there is enough for a write it goes out."""
        self.broker.subscribe(self.quick(), "a", 0, 0)
        self.fan_out.hold()
        self.spread(*["a"] * 100, payload=b"x" * 1000)
        self.assertEqual([len(data.split()) for data in self.passed], [55])
        self.fan_out.release()
        self.assertEqual(sum(len(data.split()) for data in self.passed), 100)


class DurableTests(Fixture):
    """Subscriptions that keep."""

    limits = Limits(prefetch=2, max_durable_events=6, ack_timeout=10, window=4)

    def join(self, name: str = "d", pattern: str = "#", prefetch: int = 0) -> tuple[Subscriber, Durable]:
        one = subscriber()
        consumer, _ = self.broker.join(one, pattern, name, prefetch)
        return one, consumer.durable

    def got(self, one: Subscriber, durable: Durable, now: float = 0.0) -> list[int]:
        durable.dispatch(now)
        return [d.event.sequence for d in taken(one)]

    def ids(self, one: Subscriber) -> list[int]:
        """The deliveries that are with a subscriber."""
        return [id for c in one.subscriptions.values() if isinstance(c, Consumer) for id in c.in_flight]

    def test_not_before_it_is_stored(self) -> None:
        """A consumer gets an event when its copy is stored."""
        one, durable = self.join()
        (owed,) = self.publish("a", store=False).owed
        self.assertEqual(self.got(one, durable), [])
        durable.stored(owed)
        self.assertEqual(self.got(one, durable), [1])

    def test_prefetch(self) -> None:
        """At most `prefetch` are unacknowledged with a consumer; an acknowledgement makes room."""
        one, durable = self.join()
        for _ in range(4):
            self.publish("a")
        self.assertEqual(self.got(one, durable), [1, 2])
        self.broker.acknowledge(one, self.ids(one)[0])
        self.assertEqual(self.got(one, durable), [3])

    def test_after_a_disconnect(self) -> None:
        """What was not acknowledged comes again to the next connection, in order."""
        one, durable = self.join()
        for _ in range(3):
            self.publish("a")
        self.got(one, durable)
        self.broker.acknowledge(one, self.ids(one)[0])
        self.assertEqual(self.broker.leave(one), [durable])
        self.publish("a")
        two, _ = self.join(prefetch=9)
        self.assertEqual(self.got(two, durable), [2, 3, 4])

    def test_without_an_acknowledgement(self) -> None:
        """After `ack_timeout` an event comes again, and a late acknowledgement still counts."""
        one, durable = self.join()
        self.publish("a")
        self.assertEqual(self.got(one, durable, 0.0), [1])
        self.assertFalse(durable.expire(9.9))
        self.assertTrue(durable.expire(10.0))
        self.assertEqual(self.got(one, durable, 10.0), [1])
        (id,) = self.ids(one)
        self.broker.acknowledge(one, id)
        self.refuses("unknown-delivery", self.broker.acknowledge, one, id)
        self.assertEqual(durable.owed, 0)

    def test_a_stopped_consumer_holds_no_more_than_its_prefetch(self) -> None:
        """What a connection has not taken is not given to it twice, however often its time is up."""
        one, durable = self.join()
        self.publish("a")
        for now in range(0, 100, 10):
            durable.dispatch(float(now))
            durable.expire(now + 10.0)
        durable.dispatch(200.0)
        self.assertEqual(len(taken(one)), 1)

    def test_work_is_shared(self) -> None:
        """Consumers of one name share its events, in turn, each with one of them."""
        one, durable = self.join()
        two, _ = self.join()
        for _ in range(4):
            self.publish("a")
        self.assertEqual((self.got(one, durable), self.got(two, durable)), ([1, 3], [2, 4]))

    def test_only_its_own(self) -> None:
        """A connection cannot acknowledge what is owed to a durable subscription that it has no share in."""
        one, durable = self.join()
        self.publish("a")
        self.got(one, durable)
        two, _ = self.join("other", "b")
        self.refuses("unknown-delivery", self.broker.acknowledge, two, self.ids(one)[0])

    def test_publishers_wait_when_it_is_full(self) -> None:
        """With `max_durable_events` unacknowledged a publish must wait, until one is acknowledged."""
        one, durable = self.join()
        for _ in range(6):
            self.assertFalse(self.broker.must_wait("a"))
            self.publish("a")
        self.assertTrue(self.broker.must_wait("a"))
        self.got(one, durable)
        self.broker.acknowledge(one, self.ids(one)[0])
        self.assertFalse(self.broker.must_wait("a"))

    def test_deleting(self) -> None:
        """A deleted one is owed nothing, holds nobody up, and its name can be used anew."""
        one, durable = self.join()
        for _ in range(6):
            self.publish("a")
        self.got(one, durable)
        self.broker.delete("d")
        self.assertFalse(self.broker.must_wait("a"))
        self.assertEqual((one.subscriptions, taken(one)), ({}, []))
        self.refuses("not-subscribed", self.broker.delete, "d")
        two, again = self.join(pattern="b")
        self.publish("b")
        self.assertEqual(self.got(two, again), [1])

    def test_what_could_not_be_stored(self) -> None:
        """A copy that is not stored is not owed."""
        _, durable = self.join()
        (owed,) = self.publish("a", store=False).owed
        durable.broken(owed)
        self.assertEqual(durable.owed, 0)

    def test_from_the_store(self) -> None:
        """After a start the backlog is read page by page, and new events come behind it."""
        durable = self.broker.add_durable(Durable("d", "#", self.limits, owed=5, last_stored=50))
        self.broker.next_id = 51
        backlog = [Owed(id, durable, Event("a", b"", "", id // 10, 0)) for id in range(10, 60, 10)]
        self.broker.restore({"a": 5})
        one, _ = self.join(prefetch=99)
        self.assertTrue(durable.wants_more)
        self.assertEqual(durable.load(), 0)
        self.assertFalse(durable.wants_more)
        self.publish("a")
        durable.loaded(backlog[:3], False)
        self.assertEqual(self.got(one, durable), [1, 2, 3])
        self.assertEqual(durable.load(), 30)
        durable.loaded([*backlog[3:], Owed(51, durable, Event("a", b"", "", 6, 0))], True)
        self.assertEqual(self.got(one, durable), [4, 5, 6])
        self.assertFalse(durable.wants_more)


class Machine(RuleBasedStateMachine):
    """A broker with one best-effort and one durable subscription, a store that commits when it likes, and
    consumers that come, go and forget, against lists."""

    @initialize()
    def begin(self) -> None:
        self.broker = Broker(Limits(max_durable_events=1000, window=2, window_bytes=1 << 20, ack_timeout=10))
        self.now = 0.0
        self.durable = self.broker.add_durable(Durable("d", "#", self.broker.limits))
        self.uncommitted: list[Owed] = []
        self.stored: dict[int, Owed] = {}  # committed and not acknowledged
        self.consumers: list[Subscriber] = []
        self.reading: list[int] = []
        self.watcher = subscriber()
        self.broker.subscribe(self.watcher, "a.#", 4, 0)
        self.queue: deque[int] = deque()
        self.dropped = 0

    @rule(topics=st.lists(st.sampled_from(["a", "a.b", "c"]), min_size=1, max_size=4))
    def publish(self, topics: list[str]) -> None:
        for topic in topics:
            published = self.broker.publish(topic, b"", "", 0)
            for subscription in published.to:
                subscription.offer(published.event)
            self.uncommitted.extend(published.owed)
            if topic != "c":
                self.queue.append(published.event.order)
                if len(self.queue) > 4:
                    self.queue.popleft()
                    self.dropped += 1

    @rule()
    def watch(self) -> None:
        found = taken(self.watcher)
        assert [d.event.order for d in found] == list(self.queue)
        assert sum(d.dropped for d in found) == (self.dropped if found else 0)
        if found:
            self.dropped = 0
        self.queue.clear()

    @rule(count=st.integers(1, 5))
    def commit(self, count: int) -> None:
        for owed in self.uncommitted[:count]:
            self.stored[owed.id] = owed
            self.durable.stored(owed)
        del self.uncommitted[:count]

    @rule()
    def dispatch(self) -> None:
        self.durable.dispatch(self.now)

    @rule()
    def start_reading(self) -> None:
        if self.durable.wants_more:
            after = self.durable.load()
            self.reading = [id for id in sorted(self.stored) if id > after]

    @rule(count=st.integers(1, 3))
    def end_reading(self, count: int) -> None:
        if self.durable.is_loading:
            page = [self.stored[id] for id in self.reading[:count]]
            self.durable.loaded(page, len(page) == len(self.reading))

    @rule(prefetch=st.integers(1, 3))
    def join(self, prefetch: int) -> None:
        one = subscriber()
        self.broker.join(one, "#", "d", prefetch)
        self.consumers.append(one)

    @rule(which=st.integers(0, 5))
    def leave(self, which: int) -> None:
        if which < len(self.consumers):
            self.broker.leave(self.consumers.pop(which))

    @rule(which=st.integers(0, 5), take=st.booleans())
    def acknowledge(self, which: int, take: bool) -> None:
        self.durable.dispatch(self.now)
        if which < len(self.consumers):
            one = self.consumers[which]
            for delivery in taken(one) if take else []:
                assert delivery.delivery in self.stored, (
                    "nobody is given what was acknowledged, or is not stored"
                )
                self.broker.acknowledge(one, delivery.delivery)
                del self.stored[delivery.delivery]

    @rule(seconds=st.floats(0, 11))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.durable.expire(self.now)

    @invariant()
    def nothing_is_with_two(self) -> None:
        if hasattr(self, "durable"):
            ids = [id for consumer in self.durable.consumers for id in consumer.in_flight]
            assert len(ids) == len(set(ids))
            assert self.durable.owed == len(self.stored) + len(self.uncommitted)

    def teardown(self) -> None:
        """In the end one consumer that takes everything gets all that is owed, once and in order."""
        if not hasattr(self, "durable"):
            return
        self.commit(10_000)
        if self.durable.is_loading:
            self.end_reading(10_000)
        for one in self.consumers:
            self.broker.leave(one)
        last = subscriber()
        self.broker.join(last, "#", "d", 10_000)
        found: list[int] = []
        for _ in range(1000):
            self.durable.dispatch(self.now)
            found += [d.delivery for d in taken(last)]
            self.start_reading()
            self.end_reading(3)
        assert found == sorted(self.stored), (found, sorted(self.stored))


class MachineTests(SynchronousTestCase):
    """The broker as a whole."""

    def test_against_a_model(self) -> None:
        """Whatever is published, stored, read and acknowledged: nothing is lost, doubled or out of turn."""
        run_state_machine_as_test(
            Machine, settings=settings(max_examples=150, stateful_step_count=50, deadline=None)
        )
