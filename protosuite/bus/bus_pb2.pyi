from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EchoMessage(_message.Message):
    __slots__ = ("content",)
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    content: str
    def __init__(self, content: _Optional[str] = ...) -> None: ...

class AddRequest(_message.Message):
    __slots__ = ("a", "b")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    a: int
    b: int
    def __init__(self, a: _Optional[int] = ..., b: _Optional[int] = ...) -> None: ...

class AddResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: int
    def __init__(self, result: _Optional[int] = ...) -> None: ...

class Subscribe(_message.Message):
    __slots__ = ("pattern", "replay", "durable", "prefetch", "depth")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    PREFETCH_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    replay: int
    durable: str
    prefetch: int
    depth: int
    def __init__(self, pattern: _Optional[str] = ..., replay: _Optional[int] = ..., durable: _Optional[str] = ..., prefetch: _Optional[int] = ..., depth: _Optional[int] = ...) -> None: ...

class Unsubscribe(_message.Message):
    __slots__ = ("pattern", "durable")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    durable: str
    def __init__(self, pattern: _Optional[str] = ..., durable: _Optional[str] = ...) -> None: ...

class Publish(_message.Message):
    __slots__ = ("topic", "payload", "content_type", "id")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    topic: str
    payload: bytes
    content_type: str
    id: int
    def __init__(self, topic: _Optional[str] = ..., payload: _Optional[bytes] = ..., content_type: _Optional[str] = ..., id: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("delivery",)
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    delivery: int
    def __init__(self, delivery: _Optional[int] = ...) -> None: ...

class Authenticate(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("topic", "payload", "content_type", "sequence", "delivery", "published_at", "dropped", "pattern")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    topic: str
    payload: bytes
    content_type: str
    sequence: int
    delivery: int
    published_at: int
    dropped: int
    pattern: str
    def __init__(self, topic: _Optional[str] = ..., payload: _Optional[bytes] = ..., content_type: _Optional[str] = ..., sequence: _Optional[int] = ..., delivery: _Optional[int] = ..., published_at: _Optional[int] = ..., dropped: _Optional[int] = ..., pattern: _Optional[str] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("id", "sequence")
    ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    id: int
    sequence: int
    def __init__(self, id: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "id")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    id: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., id: _Optional[int] = ...) -> None: ...

class ClientMessage(_message.Message):
    __slots__ = ("echo_message", "add_request", "subscribe", "unsubscribe", "publish", "ack", "authenticate")
    ECHO_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ADD_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    UNSUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATE_FIELD_NUMBER: _ClassVar[int]
    echo_message: EchoMessage
    add_request: AddRequest
    subscribe: Subscribe
    unsubscribe: Unsubscribe
    publish: Publish
    ack: Ack
    authenticate: Authenticate
    def __init__(self, echo_message: _Optional[_Union[EchoMessage, _Mapping]] = ..., add_request: _Optional[_Union[AddRequest, _Mapping]] = ..., subscribe: _Optional[_Union[Subscribe, _Mapping]] = ..., unsubscribe: _Optional[_Union[Unsubscribe, _Mapping]] = ..., publish: _Optional[_Union[Publish, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., authenticate: _Optional[_Union[Authenticate, _Mapping]] = ...) -> None: ...

class ServerMessage(_message.Message):
    __slots__ = ("echo_message", "add_response", "event", "receipt", "error")
    ECHO_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ADD_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    echo_message: EchoMessage
    add_response: AddResponse
    event: Event
    receipt: Receipt
    error: Error
    def __init__(self, echo_message: _Optional[_Union[EchoMessage, _Mapping]] = ..., add_response: _Optional[_Union[AddResponse, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...
