"""Ways to hurt a running daemon from outside: signals, stalls, garbage on its sockets."""

import os
import random
import signal
import socket
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq

_CONNECT_TIMEOUT_S = 0.5


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def freeze(pids: Iterable[int], seconds: float) -> None:
    """Stand still, then go on as if nothing had been: swapping, a debugger, a paused machine."""
    frozen = []
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                frozen.append(pid)
        time.sleep(seconds)
    finally:
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def slow(pid: int, seconds: float, share: float = 0.2, slice_s: float = 0.05) -> None:
    """Let a process run for only `share` of its time."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        freeze([pid], slice_s * (1 - share))
        time.sleep(slice_s * share)


def sockets(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if stat.S_ISSOCK(path.lstat().st_mode))


def garbage(folder: Path, rng: random.Random) -> int:
    """Rubbish into every socket below ZeroMQ and above it; returns how many sockets there were."""
    targets = sockets(folder)
    for path in targets:
        _raw_bytes(path, rng)
    context = zmq.Context()
    try:
        lines = [_messages(context, path, rng) for path in targets]
        time.sleep(0.05)
        for line in lines:
            line.close(linger=100)
    finally:
        context.destroy(linger=100)
    return len(targets)


def _raw_bytes(path: Path, rng: random.Random) -> None:
    """Bytes that are no ZeroMQ at all, and half a greeting."""
    for data in (rng.randbytes(300), b"\xff\0\0\0\0\0\0\0\x01\x7f", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
            line.settimeout(_CONNECT_TIMEOUT_S)
            line.connect(str(path))
            line.sendall(data)


def _messages(context: zmq.Context, path: Path, rng: random.Random) -> zmq.Socket:
    """Well-delivered nonsense; what a publisher receives are subscriptions, so it gets those.

    Returns the open socket: it must live until everything has been delivered.
    """
    requests = path.name.startswith("request.")
    line = context.socket(zmq.DEALER if requests else zmq.XSUB)
    line.setsockopt(zmq.SNDTIMEO, round(1000 * _CONNECT_TIMEOUT_S))
    line.connect(f"ipc://{path}")
    for data in nonsense(rng):
        with suppress(zmq.Again):
            line.send(data)
    if requests:
        with suppress(zmq.Again):
            line.send_multipart([b"", b"two", b"parts"])
    return line


def nonsense(rng: random.Random) -> list[bytes]:
    """No msgpack; msgpack of the wrong type, schema, verb; much too large; deeply nested."""
    pack = msgspec.msgpack.encode
    return [
        b"",
        rng.randbytes(64),
        pack([1, 2, 3]),
        pack({"schema": 99, "verb": "go", "valid": True}),
        pack({"schema": 1, "verb": "explode", "valid": True}),
        pack({"schema": 1, "verb": "go", "text": "sweep", "t_ns": -5, "valid": True}),
        pack({"schema": 1, "verb": "reset", "valid": False}),
        b"\x91" * 5000,
        rng.randbytes(200_000),
    ]


def impostor(folder: Path, name: str, data: Iterable[bytes], seconds: float) -> None:
    """Publish bytes in the place of a sender that is not there, e.g. `operator.teleop`."""
    context = zmq.Context()
    try:
        line = context.socket(zmq.PUB)
        line.setsockopt(zmq.LINGER, 0)
        line.bind(f"ipc://{folder / name}")
        messages, end_s = list(data), time.monotonic() + seconds
        while time.monotonic() < end_s:
            for message in messages:
                line.send(message)
            time.sleep(0.01)
    finally:
        context.destroy(linger=0)
