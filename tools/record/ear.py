"""Hears every stream of every process, as bytes, in the order of arrival.

Bytes are kept as they came: what a recording holds is what the receivers got, to the last bit, and
nothing is lost in decoding. A thread of its own drains the sockets, so that a slow disk costs
memory before it costs messages.
"""

import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import zmq
from tandem.runtime import streams
from tandem.runtime.streams import Stream, endpoint
from tandem.runtime.telemetry import SOURCES

_LOOK_MS = 50
_HELD_BY_ZMQ = 10_000  # messages of one sender, while the thread does not get the CPU
_RECONNECT_MS = (20, 100)
_MIB = 1 << 20

HEARD_FROM: tuple[tuple[Stream, str], ...] = (
    (streams.STATE, "executor"),
    (streams.BEAT, "executor"),
    (streams.CHUNK, "s1"),
    (streams.CONDITIONING, "s2"),
    (streams.OPERATOR, "teleop"),
    (streams.TASK, "supervisor"),
    *((stream, source) for stream in (streams.TICK, streams.EVENT) for source in SOURCES),
)


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as it came over the wire."""

    stream: Stream
    source: str
    data: bytes
    arrival_ns: int  # CLOCK_MONOTONIC, when we had it


class Ear:
    """`take()` gives what has arrived since the last call, oldest first.

    `lost` counts messages that found no memory left: `backlog_mib` is all that a slow disk may
    cost.
    """

    def __init__(self, runtime_dir: Path, backlog_mib: float = 256) -> None:
        self.lost = 0
        self._put_bytes = self._taken_bytes = 0  # each written by one thread only
        self._limit_bytes = round(backlog_mib * _MIB)
        self._context = zmq.Context()
        self._sockets = {self._connect(runtime_dir, *key): key for key in HEARD_FROM}
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="ear", daemon=True)
        self._thread.start()

    @property
    def backlog_bytes(self) -> int:
        return self._put_bytes - self._taken_bytes

    def take(self) -> list[Heard]:
        """Never waits."""
        taken = []
        for _ in range(self._heard.qsize()):
            heard = self._heard.get()
            self._taken_bytes += len(heard.data)
            taken.append(heard)
        return taken

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _connect(self, runtime_dir: Path, stream: Stream, source: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, _HELD_BY_ZMQ)
        socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS[0])
        # An operator may sit down at any time, and the first word may decide.
        slower = 0 if stream is streams.OPERATOR else _RECONNECT_MS[1]
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, slower)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(endpoint(runtime_dir, stream, source))
        return socket

    def _listen(self) -> None:
        poller = zmq.Poller()
        for socket in self._sockets:
            poller.register(socket, zmq.POLLIN)
        while not self._ending.is_set():
            ready = [socket for socket, _ in poller.poll(_LOOK_MS)]
            while ready:  # one of each in turn: no sender's backlog makes another's look late
                ready = [socket for socket in ready if self._hear(socket)]

    def _hear(self, socket: "zmq.Socket[bytes]") -> bool:
        try:
            data = socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        if self.backlog_bytes + len(data) > self._limit_bytes:
            self.lost += 1
            return True
        self._put_bytes += len(data)
        self._heard.put(Heard(*self._sockets[socket], data, time.monotonic_ns()))
        return True
