"""One end of the conditioning hop in a process of its own: `python -m … send|receive WAY …`.

Four ways for the very same bytes, so that each step's price shows:
- tandem: typed message in, typed message out, over the bus, waited for as System 1 waits (uvloop);
- raw_pyzmq: bytes in, bytes out, a blocking receive: the floor;
- raw_pyzmq_typed: the same with encode before and typed decode after;
- raw_pyzmq_asyncio: bytes waited for with pyzmq's own asyncio sockets on uvloop.

Every end stamps CLOCK_MONOTONIC twice: around the message (before encode, after typed decode) and
around the bytes (before the socket's send, after its receive). Where a way is not typed, the codec
runs outside of both.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvloop
import zmq
import zmq.asyncio
from tandem.runtime import messages, streams
from tandem.runtime.bus import ZmqPublisher, ZmqSubscriber
from tandem.runtime.clock import NS_PER_S, MonotonicClock
from tandem.runtime.messages import Conditioning

WAYS = ("tandem", "raw_pyzmq", "raw_pyzmq_typed", "raw_pyzmq_asyncio")
TYPED = frozenset({"tandem", "raw_pyzmq_typed"})
_STREAM = streams.CONDITIONING
_QUEUE = 256  # as the bus has it
_PATIENCE_NS = NS_PER_S  # after the last message was due

Row = tuple[int, int, int]  # sequence, stamp around the message, stamp around the bytes


def message(seq: int, tokens: int, width: int) -> Conditioning:
    """A conditioning as System 2 sends it: [tokens, width] float16 and its lineage."""
    now_ns = time.monotonic_ns()
    return Conditioning(
        seq=seq,
        t_ns=now_ns,
        valid=True,
        latent=np.full((tokens, width), 0.5, dtype=np.float16),
        latent_id="bench",
        instruction_id=1,
        t_capture_ns=now_ns,
        frame_seq=seq,
        version=[1, 1],
        age_frames=[0, 0],
        gate=[0.1, 0.2],
        refreshed=[False, False],
        timings_ns={"vision": 1, "gate": 2, "trunk": 3, "readout": 4},
    )


class StampedSocket:
    """A socket that notes when bytes passed it. The bus's own ends run on it unchanged."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket = socket
        self.getsockopt = socket.getsockopt
        self.stamp_ns = 0

    def send(self, data: bytes, flags: int = 0) -> None:
        self.stamp_ns = time.monotonic_ns()
        self._socket.send(data, flags)

    def recv(self, flags: int = 0) -> bytes:
        data = self._socket.recv(flags)
        self.stamp_ns = time.monotonic_ns()
        return data


def send(way: str, folder: Path, plan: "Plan") -> list[Row]:
    """Send on the plan's grid; stamps from before."""
    clock, publish = MonotonicClock(), _publisher(way, folder)
    print("ready", flush=True)
    rows = []
    for seq in range(plan.count):
        outgoing = message(seq, plan.tokens, plan.width)
        clock.sleep_until(plan.t0_ns + seq * plan.period_ns)
        rows.append((seq, *publish(outgoing)))
    clock.sleep_until(plan.end_ns)  # the last message is still on its way
    return rows


def receive(way: str, folder: Path, plan: "Plan") -> list[Row]:
    """Receive until the plan's end; stamps from after."""
    rows: list[Row] = []
    match way:
        case "tandem":
            uvloop.run(_receive_tandem(folder, plan, rows))
        case "raw_pyzmq_asyncio":
            uvloop.run(_receive_asyncio(folder, plan, rows))
        case _:
            _receive_blocking(way, folder, plan, rows)
    return rows


class Plan(NamedTuple):
    """When, how often and how much: the same numbers in every process."""

    t0_ns: int
    period_ns: int
    count: int
    tokens: int
    width: int

    @property
    def end_ns(self) -> int:
        return self.t0_ns + self.count * self.period_ns + _PATIENCE_NS

    def left_s(self) -> float:
        return (self.end_ns - time.monotonic_ns()) / NS_PER_S


def _publisher(way: str, folder: Path) -> Callable[[Conditioning], tuple[int, int]]:
    """A function that publishes one message and returns its two stamps from before."""
    socket = StampedSocket(_bound(way, folder))
    tandem = ZmqPublisher(socket, _STREAM)  # type: ignore[arg-type]

    def publish_tandem(outgoing: Conditioning) -> tuple[int, int]:
        before_ns = time.monotonic_ns()
        tandem.send(outgoing)
        return before_ns, socket.stamp_ns

    def publish_typed(outgoing: Conditioning) -> tuple[int, int]:
        before_ns = time.monotonic_ns()
        socket.send(messages.encode(outgoing), zmq.NOBLOCK)
        return before_ns, socket.stamp_ns

    def publish_bytes(outgoing: Conditioning) -> tuple[int, int]:
        socket.send(messages.encode(outgoing), zmq.NOBLOCK)
        return socket.stamp_ns, socket.stamp_ns

    match way:
        case "tandem":
            return publish_tandem
        case "raw_pyzmq_typed":
            return publish_typed
    return publish_bytes


async def _receive_tandem(folder: Path, plan: Plan, rows: list[Row]) -> None:
    socket = StampedSocket(_connected(zmq.Context.instance(), "tandem", folder))
    subscriber = ZmqSubscriber(socket, _STREAM)  # type: ignore[arg-type]
    print("ready", flush=True)
    while plan.left_s() > 0:
        if await subscriber.arrived(plan.left_s()) and (received := subscriber.poll()):
            rows.append((received[-1].seq, time.monotonic_ns(), socket.stamp_ns))


async def _receive_asyncio(folder: Path, plan: Plan, rows: list[Row]) -> None:
    with zmq.asyncio.Context() as context:
        socket = _connected(context, "raw_pyzmq_asyncio", folder)
        print("ready", flush=True)
        while plan.left_s() > 0:
            try:
                data = await asyncio.wait_for(socket.recv(), plan.left_s())
            except TimeoutError:
                break
            after_ns = time.monotonic_ns()
            rows.append((_decode(data).seq, after_ns, after_ns))
        socket.close(linger=0)


def _receive_blocking(way: str, folder: Path, plan: Plan, rows: list[Row]) -> None:
    socket = _connected(zmq.Context.instance(), way, folder)
    print("ready", flush=True)
    while (left_s := plan.left_s()) > 0:
        socket.setsockopt(zmq.RCVTIMEO, max(1, int(left_s * 1000)))
        try:
            data = socket.recv()
        except zmq.Again:
            break
        bytes_ns = time.monotonic_ns()
        seq = _decode(data).seq
        message_ns = time.monotonic_ns() if way in TYPED else bytes_ns
        rows.append((seq, message_ns, bytes_ns))


def _decode(data: bytes) -> Conditioning:
    return messages.decode(Conditioning, data, _STREAM.max_bytes)


def _bound(way: str, folder: Path) -> "zmq.Socket[bytes]":
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUB)
    _equal_options(socket)
    socket.bind(f"ipc://{folder}/{way}")
    return socket


def _connected(context: Any, way: str, folder: Path) -> Any:
    """A socket of `context`, whatever its class, with the options that the bus sets."""
    socket = context.socket(zmq.SUB)
    _equal_options(socket)
    socket.setsockopt(zmq.CONFLATE, 1)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(f"ipc://{folder}/{way}")
    return socket


def _equal_options(socket: Any) -> None:
    """What the bus sets, so that only the bus differs."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, _QUEUE)
    socket.setsockopt(zmq.RCVHWM, _QUEUE)
    socket.setsockopt(zmq.MAXMSGSIZE, 2 * _STREAM.max_bytes)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)


def main(role: str, way: str, folder: str, path: str, *numbers: str) -> None:
    plan = Plan(*map(int, numbers))
    end = send if role == "send" else receive
    np.save(path, np.array(end(way, Path(folder), plan), dtype=np.int64).reshape(-1, 3))


if __name__ == "__main__":
    main(*sys.argv[1:])
