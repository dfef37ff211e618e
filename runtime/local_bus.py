"""The bus inside one process: queues instead of sockets, the same bytes, for lockstep and tests.

Messages are encoded and decoded here too, so that nobody shares a mutable array by accident and a
lockstep run exercises the same wire.
"""

import asyncio
from collections import defaultdict, deque
from typing import Any

from tandem.runtime import messages
from tandem.runtime.errors import ConfigError
from tandem.runtime.messages import Message, Reply, Request
from tandem.runtime.ports import Inbox, Outbox
from tandem.runtime.streams import REQUEST_MAX_BYTES, Stream

_QUEUE = 4096


async def _filled(queue: deque[Any], timeout_s: float) -> bool:
    """Wait for something in the queue; only tests and demonstrations wait on this bus."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + timeout_s
    while not queue and loop.time() < end_s:
        await asyncio.sleep(0.001)
    return bool(queue)


class _Hub:
    """All queues of one process: readers per (stream, sender), one inbox per server."""

    def __init__(self) -> None:
        self.readers: defaultdict[tuple[str, str], list[deque[bytes]]] = defaultdict(list)
        self.servers: dict[str, deque[tuple[LocalClient, bytes]]] = {}


class LocalPublisher:
    def __init__(self, readers: list[deque[bytes]], stream: Stream) -> None:
        self._readers = readers
        self._outbox = Outbox(stream)

    def send(self, message: Message) -> int:
        self._deliver(self._outbox.encode(message))
        return message.seq

    def refresh(self, now_ns: int) -> None:
        data = self._outbox.due(now_ns)
        if data is not None:
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        for queue in self._readers:
            queue.append(data)


class LocalSubscriber(Inbox[Any]):
    def __init__(self, queue: deque[bytes], stream: Stream) -> None:
        super().__init__(stream)
        self._queue = queue

    def poll(self) -> list[Any]:
        parts = list(self._queue)
        self._queue.clear()
        return self.take(parts) if parts else []

    async def arrived(self, timeout_s: float) -> bool:
        return await _filled(self._queue, timeout_s)


class LocalClient:
    def __init__(self, hub: _Hub, server: str) -> None:
        self._hub = hub
        self._server = server
        self._seq = 0
        self.answers: deque[bytes] = deque()

    def send(self, request: Request) -> None:
        self._seq += 1
        request.seq, request.valid = self._seq, True
        queue = self._hub.servers.get(self._server)
        if queue is not None:
            queue.append((self, messages.encode(request)))

    def poll(self) -> Reply | None:
        while self.answers:
            reply = messages.decode(Reply, self.answers.popleft())
            if reply.seq == self._seq:
                return reply
        return None

    async def arrived(self, timeout_s: float) -> bool:
        return await _filled(self.answers, timeout_s)


class LocalServer:
    malformed = 0

    def __init__(self, queue: deque[tuple[LocalClient, bytes]]) -> None:
        self._queue = queue
        self._asker: tuple[LocalClient, int] | None = None

    def poll(self) -> Request | None:
        if self._asker is not None:
            self.reply(Reply(ok=False, text="the request was not answered", valid=True))
        if not self._queue:
            return None
        client, data = self._queue.popleft()
        request = messages.decode(Request, data, REQUEST_MAX_BYTES)
        self._asker = (client, request.seq)
        return request

    def reply(self, reply: Reply) -> None:
        if self._asker is None:
            return
        (client, reply.seq), self._asker = self._asker, None
        client.answers.append(messages.encode(reply))

    async def arrived(self, timeout_s: float) -> bool:
        return await _filled(self._queue, timeout_s)


class LocalBus:
    """`named()` gives the other processes' ends: `hub = LocalBus(); s1_bus = hub.named("s1")`."""

    def __init__(self, source: str = "local", hub: _Hub | None = None) -> None:
        self.source = source
        self._hub = hub or _Hub()

    def named(self, source: str) -> "LocalBus":
        return LocalBus(source, self._hub)

    def publisher(self, stream: Stream) -> LocalPublisher:
        return LocalPublisher(self._hub.readers[stream.name, self.source], stream)

    def subscriber(
        self, stream: Stream, source: str, conflate: bool | None = None
    ) -> LocalSubscriber:
        newest_only = stream.conflate if conflate is None else conflate
        queue: deque[bytes] = deque(maxlen=1 if newest_only else _QUEUE)
        self._hub.readers[stream.name, source].append(queue)
        return LocalSubscriber(queue, stream)

    def server(self, name: str) -> LocalServer:
        if name in self._hub.servers:
            raise ConfigError(f"there are two servers named {name!r}")
        queue: deque[tuple[LocalClient, bytes]] = deque()
        self._hub.servers[name] = queue
        return LocalServer(queue)

    def client(self, server: str) -> LocalClient:
        return LocalClient(self._hub, server)

    def close(self) -> None:
        self._hub.readers.clear()
        self._hub.servers.clear()
