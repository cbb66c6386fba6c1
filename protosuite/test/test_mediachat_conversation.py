"""What a client says on one connection: the conversation against a naive model, step by step."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from protosuite.hours import ALWAYS, NEVER, parse
from protosuite.mediachat.conversation import (
    Abandon,
    Answer,
    Begin,
    Close,
    Conversation,
    Data,
    Discard,
    DiscardText,
    Finish,
    SaveText,
    Step,
)
from protosuite.mediachat.wire import Head, Text

PARIS = ZoneInfo("Europe/Paris")
NOON = 1_700_046_000_000 - 1_700_046_000_000 % 60_000  # 12:00 in Paris
MAX = 20
HOURS = {
    "text": ALWAYS,
    "voice": NEVER,
    "image": parse("08:00-11:59"),
    "file": ALWAYS,
    "video": parse("12:00-12:00"),
}
TAKEN = {"text": True, "voice": False, "image": False, "file": True, "video": True}


def head(**fields: Any) -> bytes:
    return json.dumps({"name": "a", "size": 3, "kind": "file"} | fields).encode()


class Talk(RuleBasedStateMachine):
    """The model has the bytes that are kept, and what the next binary frame is, as plain words.

    Everything that a client can do is done in every state, and so is everything that a server can answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conversation = Conversation(PARIS, False, HOURS, MAX)
        self.next = "head"  # or: nothing, kept, dropped, closed
        self.left = 0
        self.head: Head | None = None

    def expect(self, found: list[Step], *wanted: Any) -> None:
        """The steps are these; an `Answer` is given by its code."""
        seen = [step.status.code if isinstance(step, Answer) else step for step in found]
        assert seen == ([] if self.next == "closed" else list(wanted)), (seen, wanted)

    def completed(self) -> list[Any]:
        """What follows if nothing is left."""
        if self.left or self.next not in ("kept", "dropped"):
            return []
        was, self.next = self.next, "head"
        return [Finish()] if was == "kept" else []

    @rule(
        text=st.text(st.characters(codec="utf-8", min_codepoint=32, max_codepoint=126), min_size=1),
        key=st.none() | st.just("k"),
    )
    def says(self, text: str, key: str | None) -> None:
        """A text is taken at any time."""
        found = self.conversation.text(json.dumps({"type": "text", "text": text, "key": key}), NOON)
        self.expect(found, SaveText(Text(text, key)))

    @rule(
        junk=st.sampled_from(["", "{", "[]", '{"type":"x"}', '{"type":"text"}', '{"type":"text","text":""}'])
    )
    def says_nonsense(self, junk: str) -> None:
        """What is no text is answered, and nothing else changes."""
        codes = {"{": "bad-json", "": "bad-json", "[]": "bad-json", '{"type":"x"}': "unknown-type"}
        self.expect(self.conversation.text(junk, NOON), codes.get(junk, "bad-field"))

    @rule(
        size=st.integers(0, MAX + 3),
        kind=st.sampled_from(["voice", "video", "image", "file"]),
        name=st.none() | st.sampled_from("uv"),
    )
    @precondition(lambda self: self.next in ("head", "closed"))
    def begins(self, size: int, kind: str, name: str | None) -> None:
        """A head."""
        found = self.conversation.binary(head(size=size, kind=kind, upload=name), NOON)
        if self.next == "closed":
            assert found == []
            return
        new = Head("a", size, kind, upload=name)
        is_kept = TAKEN[kind] and size <= MAX
        step: Any
        if size > MAX:
            step = "too-large"
        elif is_kept:
            step = Begin(new)
        else:
            step = next(each for each in found if isinstance(each, Discard))
            assert step.head == new
            assert step.next_open_at == HOURS[kind].next_open(NOON, PARIS)
        if name is None:
            self.next, self.left = ("kept" if is_kept else "dropped"), size
        else:
            self.next, self.left = ("nothing" if is_kept else "head"), size
        self.expect(found, step, *self.completed())
        self.head = next(
            (each.head for each in found if isinstance(each, Begin)), self.head if not is_kept else None
        )
        if not is_kept:
            self.head = None

    @rule(size=st.integers(0, 5), then=st.sampled_from(["ready", "late", "refused", "cancel", "nothing"]))
    @precondition(lambda self: self.next == "head")
    def begins_to_resume(self, size: int, then: str) -> None:
        """A head with a name, and what often comes next."""
        self.begins(size, "file", "u")
        if then in ("ready", "late"):
            self.is_ready(0.5, then == "late")
        elif then == "refused":
            self.is_refused(is_late=False)
        elif then == "cancel":
            self.cancels()

    @rule(junk=st.sampled_from([b"", b"\xff", b"[]", head(size=-1), head(kind="text"), head(name="")]))
    @precondition(lambda self: self.next == "head")
    def begins_nonsense(self, junk: bytes) -> None:
        """A head that is none is the end."""
        found = self.conversation.binary(junk, NOON)
        assert [type(step) for step in found] == [Answer, Close]
        self.next = "closed"

    @rule(data=st.binary(max_size=MAX + 3))
    @precondition(lambda self: self.next != "head")
    def sends(self, data: bytes) -> None:
        """Bytes."""
        found = self.conversation.binary(data, NOON)
        if self.next == "closed":
            assert found == []
        elif self.next == "nothing" or len(data) > self.left:
            kinds: list[Any] = [type(step) for step in found]
            assert kinds == ([Abandon] if self.next in ("kept", "nothing") else []) + [Answer, Close], kinds
            self.next = "closed"
        else:
            self.left -= len(data)
            kept = [Data(data)] if data and self.next == "kept" else []
            self.expect(found, *kept, *self.completed())

    @rule(size=st.integers(1, MAX), by_thread=st.booleans())
    @precondition(lambda self: self.next != "head")
    def goes_on(self, size: int, by_thread: bool) -> None:
        """Bytes that are kept, and are not the last: they are only counted, whoever received them."""
        assert self.conversation.takes(size) == (self.next == "kept" and size <= self.left)
        if by_thread and size < self.conversation.coming:
            self.conversation.kept(size)
            self.left -= size
        elif self.conversation.goes_on(size):
            assert self.next == "kept"
            self.left -= size
        else:
            assert self.next != "kept" or size >= self.left

    @rule()
    def cancels(self) -> None:
        """The client thinks better of it."""
        found = self.conversation.text('{"type":"cancel"}', NOON)
        under_way = self.next in ("kept", "nothing")
        self.expect(found, *([Abandon(), "cancelled"] if under_way else []))
        if self.next != "closed":
            self.next = "head"

    @rule(share=st.floats(0, 1), is_late=st.booleans())
    def is_ready(self, share: float, is_late: bool) -> None:
        """The server has opened the file: this one, or one that the client gave up before."""
        if self.head is None:
            return
        other = Head(self.head.name, self.head.size, self.head.kind, upload=self.head.upload)
        offset = int(self.head.size * share)
        found = self.conversation.ready(other if is_late else self.head, offset)
        if self.next == "nothing" and not is_late:
            self.next, self.left = "kept", self.head.size - offset
            self.expect(found, *self.completed())
        else:
            assert found == []

    @rule(is_late=st.booleans())
    def is_refused(self, is_late: bool) -> None:
        """The server cannot store it."""
        if self.head is None or self.next == "closed":
            return
        other = Head(self.head.name, self.head.size, self.head.kind, upload=self.head.upload)
        self.conversation.refused(other if is_late else self.head)
        if not is_late:
            self.next = {"nothing": "head", "kept": "dropped"}.get(self.next, self.next)

    @invariant()
    def awaits_what_the_model_awaits(self) -> None:
        """It says so when, and only when, the client waits."""
        if self.head is not None:
            assert self.conversation.awaits(self.head) == (self.next == "nothing")

    @invariant()
    def has_coming_what_the_model_has(self) -> None:
        """Of what is dropped nothing is coming."""
        assert self.conversation.coming == (self.left if self.next == "kept" else 0)


class MachineTests(SynchronousTestCase):
    """Any client against any server."""

    def test_against_the_model(self) -> None:
        """Whatever happens in whatever order, the steps are those of the model."""
        run_state_machine_as_test(Talk, settings=settings(max_examples=150, deadline=None))


class TextTests(SynchronousTestCase):
    """Texts by the clock of the client."""

    def test_hours_of_the_zone(self) -> None:
        """The same moment is within the hours in one zone and outside in another."""
        hours = HOURS | {"text": parse("08:00-12:00")}
        for zone, taken in (("Europe/Paris", True), ("Asia/Tokyo", False), ("America/New_York", False)):
            (step,) = Conversation(ZoneInfo(zone), True, hours, MAX).text("hi", NOON)
            self.assertIs(type(step), SaveText if taken else DiscardText, zone)

    def test_last_minute(self) -> None:
        """The last minute is included to its end, and not a millisecond more."""
        conversation = Conversation(PARIS, True, HOURS | {"text": parse("08:00-12:00")}, MAX)
        self.assertIsInstance(conversation.text("x", NOON + 59_999)[0], SaveText)
        (step,) = conversation.text("x", NOON + 60_000)
        assert isinstance(step, DiscardText)
        self.assertEqual(step.next_open_at, NOON + 20 * 3_600_000)

    def test_plain(self) -> None:
        """A plain client's text is what it is, with the limit of every text."""
        conversation = Conversation(PARIS, True, HOURS, MAX)
        self.assertEqual(conversation.text("{}", NOON), [SaveText(Text("{}"))])
        (step,) = conversation.text("x" * 16_385, NOON)
        assert isinstance(step, Answer)
        self.assertEqual(step.status.code, "bad-field")
