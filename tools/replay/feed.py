"""A bus on which a recording is played: what is given is heard, with its own numbers and bytes.

Unlike `LocalBus` nothing is stamped anew: a conditioning keeps the number under which chunks name
it. What the replayed part sends is numbered and encoded as on the robot, then kept.
"""

from collections import defaultdict
from typing import Any

from tandem.runtime import messages
from tandem.runtime.local_bus import LocalBus, LocalClient, LocalServer
from tandem.runtime.messages import Message
from tandem.runtime.ports import Outbox
from tandem.runtime.streams import Stream


class Feed:
    """A subscriber's end; `give` puts messages there that arrived together."""

    def __init__(self, conflate: bool) -> None:
        self.latest: Any = None
        self.malformed = 0
        self.closed = False  # the sender has gone since `hung_up` was asked
        self._conflate = conflate
        self._given: list[Any] = []

    def give(self, *given: Message) -> None:
        if self._conflate:
            self._given.clear()
        self._given.extend(given)

    def poll(self) -> list[Any]:
        given, self._given = self._given, []
        if given:
            self.latest = given[-1]
        return given

    def hung_up(self) -> bool:
        was, self.closed = self.closed, False
        return was

    async def arrived(self, timeout_s: float) -> bool:
        return bool(self._given)


class Kept:
    """A publisher's end; `sent` is what went out, as its receivers would have read it."""

    def __init__(self, stream: Stream) -> None:
        self.sent: list[Any] = []
        self._kind = stream.kind
        self._outbox = Outbox(stream)

    def send(self, message: Message) -> int:
        data = self._outbox.encode(message)
        self.sent.append(messages.decode(self._kind, data, len(data)))
        return message.seq

    def refresh(self, now_ns: int) -> None:
        """Latched streams are in the recording as often as they were sent."""


class Dropped:
    """A publisher's end that nobody hears: hours of telemetry would fill the memory."""

    def send(self, message: Message) -> int:
        return message.seq

    def refresh(self, now_ns: int) -> None:
        """Nothing to send again."""


class ReplayBus:
    """`give(stream, message)` is heard by whoever subscribed; `take()` is what was decided.

    Decisions are what is sent on the stream `decides`; all else that is sent is dropped.
    """

    def __init__(self, source: str, decides: Stream) -> None:
        self.source = source
        self._feeds: defaultdict[str, list[Feed]] = defaultdict(list)
        self._decides, self._kept = decides, Kept(decides)
        self._local = LocalBus(source)  # requests are asked as everywhere

    def give(self, stream: Stream, *given: Message) -> None:
        for feed in self._feeds[stream.name]:
            feed.give(*given)

    def hang_up(self, stream: Stream) -> None:
        for feed in self._feeds[stream.name]:
            feed.closed = True

    def take(self) -> list[Any]:
        sent, self._kept.sent = self._kept.sent, []
        return sent

    def publisher(self, stream: Stream) -> Kept | Dropped:
        return self._kept if stream is self._decides else Dropped()

    def subscriber(self, stream: Stream, source: str, conflate: bool | None = None) -> Feed:
        feed = Feed(stream.conflate if conflate is None else conflate)
        self._feeds[stream.name].append(feed)
        return feed

    def server(self, name: str) -> LocalServer:
        return self._local.server(name)

    def client(self, server: str) -> LocalClient:
        return self._local.client(server)

    def close(self) -> None:
        self._local.close()
