"""What a loop holds of the bus: publishers, subscribers, servers and clients, by protocol.

A loop is given its ports and never asks whether they are sockets (`bus.ZmqBus`) or queues in one
process (`local_bus.LocalBus`): the very same loop runs on the robot and in lockstep.
"""

from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

from tandem.runtime import messages
from tandem.runtime.errors import WireError
from tandem.runtime.messages import Message, Reply, Request
from tandem.runtime.streams import Stream

M = TypeVar("M", bound=Message)

LATCH_PERIOD_NS = 1_000_000_000


class Publisher(Protocol):
    def send(self, message: Message) -> int:
        """Stamp `seq` and send; never waits. Returns the number. The sender fills t_ns and valid.

        Raises:
            WireError: the message is of another kind or larger than its stream allows.
        """

    def refresh(self, now_ns: int) -> None:
        """Send the last message of a latched stream again, at 1 Hz, for those who came late."""


class Subscriber(Protocol[M]):
    @property
    def latest(self) -> M | None:
        """The newest valid message ever received."""

    @property
    def malformed(self) -> int:
        """How many messages were dropped: undecodable, too large, another schema or not valid."""

    def poll(self) -> list[M]:
        """What has arrived since the last call, newest last; never waits, never raises."""

    def hung_up(self) -> bool:
        """The sender has gone since the last call: its end was closed, by itself or by the kernel.

        Known for streams that are `passed_on`; what the sender said before may still be polled.
        """

    async def arrived(self, timeout_s: float) -> bool:
        """Wait until something can be polled, at most so long."""


class Server(Protocol):
    """Answers requests, one after the other: poll, then reply."""

    @property
    def malformed(self) -> int: ...

    def poll(self) -> Request | None: ...
    def reply(self, reply: Reply) -> None: ...
    async def arrived(self, timeout_s: float) -> bool: ...


class Client(Protocol):
    """Asks without waiting: `send`, then `poll` until the answer to that request is there."""

    def send(self, request: Request) -> None: ...
    def poll(self) -> Reply | None: ...
    async def arrived(self, timeout_s: float) -> bool: ...


class Bus(Protocol):
    @property
    def source(self) -> str: ...

    def publisher(self, stream: Stream) -> Publisher: ...
    def subscriber(
        self, stream: Stream, source: str, conflate: bool | None = None
    ) -> Subscriber[Any]: ...
    def server(self, name: str) -> Server: ...
    def client(self, server: str) -> Client: ...
    def close(self) -> None: ...


class Outbox:
    """Stamps and encodes what one publisher sends, and remembers it if the stream is latched."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._seq = 0
        self._latched: bytes | None = None
        self._latched_ns = 0

    def encode(self, message: Message) -> bytes:
        stream = self._stream
        if not isinstance(message, stream.kind):
            raise WireError(f"{type(message).__name__} does not go on stream {stream.name!r}")
        message.seq = self._seq
        data = messages.encode(message)
        if len(data) > stream.max_bytes:
            raise WireError(
                f"{stream.name}: a message of {len(data)} bytes, at most {stream.max_bytes} are "
                "accepted (see runtime/streams.py); send less or split it"
            )
        self._seq += 1
        if stream.latched:
            self._latched, self._latched_ns = data, message.t_ns
        return data

    def due(self, now_ns: int) -> bytes | None:
        """The latched bytes, once per period."""
        if self._latched is None or now_ns - self._latched_ns < LATCH_PERIOD_NS:
            return None
        self._latched_ns = now_ns
        return self._latched


class Inbox(Generic[M]):
    """Decodes what one subscriber receives; keeps the newest, counts what it throws away."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.latest: M | None = None
        self.malformed = 0

    def hung_up(self) -> bool:
        """A sender in the same process cannot go; sockets know better."""
        return False

    def take(self, parts: Iterable[bytes]) -> list[M]:
        received = [m for m in map(self._decode, parts) if m is not None]
        if received:
            self.latest = received[-1]
        return received

    def _decode(self, data: bytes) -> M | None:
        try:
            message: Any = messages.decode(self._stream.kind, data, self._stream.max_bytes)
        except WireError:
            message = None
        if message is None or not message.valid:
            self.malformed += 1
            return None
        return message  # type: ignore[no-any-return]
