"""The bus over ZeroMQ: one ipc endpoint per stream and sender, in a directory that only we enter.

Facts that shaped it: CONFLATE keeps only the last part of a multipart message and is ignored once
connected, so messages are single-part and options come first; two senders on one endpoint share a
conflated slot, so each has its own; a peer that is not there yet or dies is reconnected by ZeroMQ.
An empty poll reads the socket's event word, which costs a third of a failing receive.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmq
from tandem.runtime import messages
from tandem.runtime.clock import NS_PER_MS, Clock, MonotonicClock, boot_id
from tandem.runtime.errors import ConfigError, DeviceTimeoutError, WireError
from tandem.runtime.local_bus import LocalBus
from tandem.runtime.messages import Message, Reply, Request
from tandem.runtime.ports import Bus, Client, Inbox, Outbox, Publisher, Server, Subscriber
from tandem.runtime.rundir import prepare_runtime_dir
from tandem.runtime.streams import (
    REQUEST_MAX_BYTES,
    REQUEST_TIMEOUT_NS,
    Stream,
    endpoint,
    request_endpoint,
)

__all__ = [
    "Bus",
    "Client",
    "LocalBus",
    "Publisher",
    "Server",
    "Subscriber",
    "ZmqBus",
    "prepare_runtime_dir",
    "request",
]

_QUEUE = 256  # messages held for a slow reader; beyond that it loses the newest
_QUEUE_S = 10  # of a stream, held by its sender: a recorder that is starved must lose nothing
_LAST_WORDS_MS = 200  # to get them out at the end; somebody who does not read is not waited for
_FROZEN_MS = 1000  # a sender that does not answer pings for so long is looked for anew
REPLY_MAX_BYTES = 1 << 20  # the simulator's truth travels in replies
_READABLE = int(zmq.POLLIN)  # a plain number: arithmetic on zmq's flags costs three microseconds
_REQUESTS_PER_POLL = 8  # garbage may not hold a real-time tick up


class _Port:
    """A socket, and a way to wait for it in asyncio."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket = socket
        self._fd = int(socket.getsockopt(zmq.FD))

    def readable(self) -> bool:
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & _READABLE)

    def drained(self) -> bool:
        """Throw away what has arrived; False: nothing has."""
        some = False
        while self.readable():
            self._socket.recv_multipart(zmq.NOBLOCK)
            some = True
        return some

    async def arrived(self, timeout_s: float) -> bool:
        """Wait until something can be polled, at most so long.

        The descriptor is edge-triggered: it says "look at the events again", nothing more.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while not self.readable():
            edge = loop.create_future()
            timer = loop.call_at(until_s, _settle, edge, False)
            loop.add_reader(self._fd, _settle, edge, True)
            try:
                if not await edge:
                    return self.readable()
            finally:
                timer.cancel()
                loop.remove_reader(self._fd)
        return True


def _settle(edge: "asyncio.Future[bool]", came: bool) -> None:
    if not edge.done():
        edge.set_result(came)


class ZmqPublisher:
    def __init__(self, socket: "zmq.Socket[bytes]", stream: Stream) -> None:
        self._socket = socket
        self._outbox = Outbox(stream)

    def send(self, message: Message) -> int:
        self._socket.send(self._outbox.encode(message), zmq.NOBLOCK)
        return message.seq

    def refresh(self, now_ns: int) -> None:
        data = self._outbox.due(now_ns)
        if data is not None:
            self._socket.send(data, zmq.NOBLOCK)


class ZmqSubscriber(_Port, Inbox[Any]):
    """`watch` hears of the connection's end, which a killed sender's kernel tells at once."""

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        stream: Stream,
        watch: "zmq.Socket[bytes] | None" = None,
    ) -> None:
        _Port.__init__(self, socket)
        Inbox.__init__(self, stream)
        self._watch = _Port(watch) if watch is not None else None

    def poll(self) -> list[Any]:
        return self.take(self._received()) if self.readable() else []

    def hung_up(self) -> bool:
        return self._watch is not None and self._watch.drained()

    def _received(self) -> Iterator[bytes]:
        for _ in range(_QUEUE):
            yield self._socket.recv(zmq.NOBLOCK)
            if not self.readable():
                return


class ZmqServer(_Port):
    """A ROUTER: a client that died or went silent is simply not answered.

    A question that lay in a frozen process for longer than its asker waits is refused: nobody must
    be surprised by an old `go`. Only `stop` and `hold` are never too late.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", clock: Clock) -> None:
        super().__init__(socket)
        self._clock = clock
        self._asker: tuple[bytes, int] | None = None
        self.malformed = 0

    def poll(self) -> Request | None:
        if self._asker is not None:
            self.reply(Reply(ok=False, text="the request was not answered", valid=True))
        for _ in range(_REQUESTS_PER_POLL):
            if not self.readable():
                return None
            client, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
            self._asker = (client, 0)
            try:
                return self._understood(client, parts)
            except WireError as error:
                self.malformed += 1
                self.reply(Reply(ok=False, text=str(error), valid=True))
        return None

    def reply(self, reply: Reply) -> None:
        """Answer the last request that was polled."""
        if self._asker is None:
            return
        (client, reply.seq), self._asker = self._asker, None
        self._socket.send_multipart([client, messages.encode(reply)], zmq.NOBLOCK)

    def _understood(self, client: bytes, parts: list[bytes]) -> Request:
        if len(parts) != 1:
            raise WireError(f"a request is one part, this one has {len(parts)}")
        request = messages.decode(Request, parts[0], REQUEST_MAX_BYTES)
        self._asker = (client, request.seq)
        age_ns = self._clock.now_ns() - request.t_ns
        if not request.valid or request.boot_id != boot_id():
            raise WireError("the request is not valid here: not marked so, or of another boot")
        if age_ns > REQUEST_TIMEOUT_NS and request.verb not in ("stop", "hold"):
            raise WireError(f"{request.verb!r} came {age_ns / 1e9:.1f} s late; ask again")
        return request


class ZmqClient(_Port):
    """A DEALER; an answer that comes after its question was given up is dropped."""

    def __init__(self, socket: "zmq.Socket[bytes]", clock: Clock) -> None:
        super().__init__(socket)
        self._clock = clock
        self._seq = 0

    def send(self, request: Request) -> None:
        """Number, stamp and send it.

        Raises:
            DeviceTimeoutError: the server has stopped taking requests.
        """
        self._seq += 1
        request.seq, request.t_ns, request.valid = self._seq, self._clock.now_ns(), True
        try:
            self._socket.send(messages.encode(request), zmq.NOBLOCK)
        except zmq.Again as error:
            raise DeviceTimeoutError("the server takes no requests; restart it") from error

    def poll(self) -> Reply | None:
        """The answer to the last request, once it is there.

        Raises:
            WireError: the server speaks another schema.
        """
        while self.readable():
            reply = messages.decode(Reply, self._socket.recv(zmq.NOBLOCK), REPLY_MAX_BYTES)
            if reply.seq in (self._seq, 0):  # 0: it was refused before its number was known
                return reply
        return None


class ZmqBus:
    """One process's ends of all streams. Make it before asking for real time, close it at the end.

    Raises:
        ConfigError: the runtime directory cannot be used, or an endpoint is taken.
    """

    def __init__(self, runtime_dir: Path, source: str, clock: Clock | None = None) -> None:
        self._clock = clock or MonotonicClock()
        self.runtime_dir = prepare_runtime_dir(Path(runtime_dir))
        self.source = source
        self._context = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []  # kept until close()
        # ZeroMQ starts its I/O thread with the first socket; born later it would inherit FIFO.
        self._context.socket(zmq.PAIR).close(linger=0)

    def publisher(self, stream: Stream) -> ZmqPublisher:
        socket = self._socket(zmq.PUB)
        socket.setsockopt(zmq.SNDHWM, max(round(_QUEUE_S * stream.rate_hz), _QUEUE))
        self._bind(socket, endpoint(self.runtime_dir, stream, self.source))
        return ZmqPublisher(socket, stream)

    def subscriber(
        self, stream: Stream, source: str, conflate: bool | None = None
    ) -> ZmqSubscriber:
        """Reads what `source` sends. `conflate=False`: every message, even of a state stream."""
        socket = self._socket(zmq.SUB)
        if stream.conflate if conflate is None else conflate:
            socket.setsockopt(zmq.CONFLATE, 1)
        watch = None
        if stream.passed_on:
            # A full queue and heartbeats together abort the process, inside libzmq (4.3.5).
            socket.setsockopt(zmq.RCVHWM, 0)
            for option in (zmq.HEARTBEAT_IVL, zmq.HEARTBEAT_TIMEOUT, zmq.HANDSHAKE_IVL):
                socket.setsockopt(option, _FROZEN_MS)
            watch = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(endpoint(self.runtime_dir, stream, source))
        return ZmqSubscriber(socket, stream, watch)

    def server(self, name: str) -> ZmqServer:
        socket = self._socket(zmq.ROUTER)
        # Only here: a connecting socket that meets a larger message never connects again.
        socket.setsockopt(zmq.MAXMSGSIZE, 2 * REQUEST_MAX_BYTES)
        self._bind(socket, request_endpoint(self.runtime_dir, name))
        return ZmqServer(socket, self._clock)

    def client(self, server: str) -> ZmqClient:
        socket = self._socket(zmq.DEALER)
        socket.connect(request_endpoint(self.runtime_dir, server))
        return ZmqClient(socket, self._clock)

    def close(self) -> None:
        self._context.destroy(linger=_LAST_WORDS_MS)

    def _socket(self, kind: int) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        self._sockets.append(socket)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, _QUEUE)
        socket.setsockopt(zmq.RCVHWM, _QUEUE)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        return socket

    def _bind(self, socket: "zmq.Socket[bytes]", address: str) -> None:
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise ConfigError(f"cannot bind {address}: {error}; is another run alive?") from error


def request(
    runtime_dir: Path, server: str, question: Request, timeout_ns: int = REQUEST_TIMEOUT_NS
) -> Reply:
    """Ask and wait for the answer.

    Raises:
        DeviceTimeoutError: nobody answered in time.
        WireError: the other side speaks another schema.
    """
    context = zmq.Context()
    try:
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(request_endpoint(runtime_dir, server))
        client = ZmqClient(socket, MonotonicClock())
        client.send(question)
        reply = client.poll() if socket.poll(timeout_ns // NS_PER_MS) else None
    finally:
        context.destroy(linger=0)
    if reply is None:
        raise DeviceTimeoutError(
            f"{server} did not answer {question.verb!r} within {timeout_ns / 1e9:g} s; "
            f"is `tandem run` alive (runtime directory {runtime_dir})?"
        )
    return reply
