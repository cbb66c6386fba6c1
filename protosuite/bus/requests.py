"""What a client of bus/1 has asked and not been told: what waits to be sent, and whose answer comes. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum

from attrs import define
from google.protobuf.message import Message

from protosuite.bus import bus_pb2 as pb
from protosuite.bus.wire import encode_request
from protosuite.errors import OutcomeUnknown, Overloaded, PeerFault, ServerRefused

# What the server can say with id 0 in place of an echo or a sum. All else that it says with id 0 is
# about a subscription, an acknowledgement or a publish without a receipt.
_REFUSES_ANSWER = ("overflow", "bad-message")


class Kind(Enum):
    """What a request is, by how the server answers it."""

    ECHO = "echo"  # in order, with the text
    SUM = "add"  # in order, with the sum or an error
    RECEIPT = "publish"  # when it is stored, by id
    NOTHING = "publish without receipt"  # not at all
    # Subscribe and Unsubscribe, which are answered only if refused. An empty echo goes out behind each:
    # its answer says that the server has done what was before it.
    FENCE = "subscribe or unsubscribe"


@define(eq=False, repr=False)
class Request:
    """A request and who wants to know: `settle` gets the answer, or the exception in its place, once."""

    kind: Kind
    body: Message
    settle: Callable[[object], None]
    refusal: ServerRefused | None = None

    @property
    def size(self) -> int:
        """Bytes that its body takes."""
        return self.body.ByteSize()

    def encoded(self) -> bytes:
        """What goes over the wire for it."""
        frame = encode_request(self.body)
        return frame + encode_request(pb.EchoMessage()) if self.kind is Kind.FENCE else frame

    def lost(self, why: str) -> Exception:
        """What `settle` gets if no answer can come any more."""
        if self.kind in (Kind.ECHO, Kind.SUM):
            return ConnectionError(f"{why} before the answer came")
        return OutcomeUnknown(f"{why} before the server confirmed it")


class Requests:
    """Those that wait, up to `max_waiting` and `max_bytes` of bodies, and `max_in_flight` that were sent."""

    def __init__(self, max_in_flight: int, max_waiting: int, max_bytes: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._waiting: OrderedDict[Request, int] = OrderedDict()  # with their sizes
        self._waiting_bytes = 0
        self._in_order: deque[Request] = deque()
        self._by_id: dict[int, Request] = {}

    def put(self, request: Request) -> None:
        """Let it wait for its turn. Raises :exc:`Overloaded` if too many do."""
        if len(self._waiting) >= self._max_waiting or self._waiting_bytes >= self._max_bytes:
            raise Overloaded("too many requests wait to be sent")
        self._waiting[request] = request.size
        self._waiting_bytes += self._waiting[request]

    def withdraw(self, request: Request) -> None:
        """Nobody wants to know any more: it is not sent, if it has not been."""
        self._waiting_bytes -= self._waiting.pop(request, 0)

    def take(self, max_bytes: int) -> list[Request]:
        """Those that may be sent now, in order, up to `max_bytes` of bodies; they are in flight then."""
        taken: list[Request] = []
        size = 0
        while (
            self._waiting
            and size < max_bytes
            and len(self._in_order) + len(self._by_id) < self._max_in_flight
        ):
            request, its_size = self._waiting.popitem(last=False)
            self._waiting_bytes -= its_size
            size += its_size
            self.sent(request)
            taken.append(request)
        return taken

    def sent(self, request: Request) -> None:
        """It is in flight from now on, past those that wait."""
        if request.kind is Kind.RECEIPT:
            assert isinstance(request.body, pb.Publish)
            self._by_id[request.body.id] = request
        elif request.kind is not Kind.NOTHING:
            self._in_order.append(request)

    def answered(self, body: Message) -> None:
        """Hand an answer to whoever it is for. Raises :exc:`PeerFault` if it is not to what was asked."""
        if isinstance(body, pb.Receipt):
            published = self._by_id.pop(body.id, None)
            if published is None:
                raise PeerFault("bad-answer", "a receipt for what was not published")
            published.settle(body.sequence)
            return
        request = self._in_order[0] if self._in_order else None
        match request, body:
            case Request(kind=Kind.SUM), pb.AddResponse():
                answer: object = body.result
            case Request(kind=Kind.ECHO, body=asked), pb.EchoMessage() if asked == body:
                answer = body.content
            case Request(kind=Kind.FENCE, refusal=refusal), pb.EchoMessage(content=""):
                answer = refusal
            case _:
                raise PeerFault("bad-answer", "an answer to what was not asked, or out of order")
        self._in_order.popleft().settle(answer)

    def refused(self, error: pb.Error) -> bool:
        """Hand an error to whoever it is for. False: to nobody who waits for an answer."""
        refusal = ServerRefused(error.code, error.message)
        if error.id:
            published = self._by_id.pop(error.id, None)
            if published is not None:
                published.settle(refusal)
            return published is not None
        request = self._in_order[0] if self._in_order else None
        if request is None:
            return False
        if request.kind is Kind.FENCE:
            request.refusal = request.refusal or refusal  # its echo is still to come
            return True
        if error.code not in _REFUSES_ANSWER:
            return False
        self._in_order.popleft().settle(refusal)
        return True

    def lose(self, why: str) -> None:
        """The connection is gone: nothing that is in flight will be answered."""
        unanswered = [*self._in_order, *self._by_id.values()]
        self._in_order.clear()
        self._by_id.clear()
        for request in unanswered:
            request.settle(request.lost(why))

    def give_up(self, why: str) -> None:
        """Nothing that waits will be sent."""
        for request in self._taken_back():
            request.settle(ConnectionError(why))

    def refuse(self, refusal: ServerRefused) -> None:
        """The server takes nothing from us: neither what is in flight nor what waits will be done."""
        unanswered = [*self._in_order, *self._by_id.values(), *self._taken_back()]
        self._in_order.clear()
        self._by_id.clear()
        for request in unanswered:
            request.settle(refusal)

    def _taken_back(self) -> list[Request]:
        """Those that wait, which then do so no more."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        return waiting
