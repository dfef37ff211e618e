"""Ways to hurt a running daemon from outside: signals, stalls, garbage on its sockets."""

import os
import random
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq

_LISTEN_S = 0.02
_HANDSHAKE_S = 0.5


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
        for data in (rng.randbytes(300), GREETING[:11], b"GET / HTTP/1.1\r\n\r\n"):
            _deliver(path, [data])
        peer = b"DEALER" if path.name.startswith("request.") else b"SUB"
        frames = [frame(message) for message in nonsense(rng)]
        parts = [frame(b"", more=True), frame(b"two", more=True), frame(b"parts")]
        _deliver(path, [*parts, *frames], shake_hands_as=peer)
    return len(targets)


# Our own ZMTP 3.0 (rfc.zeromq.org/spec/23), because a libzmq that sends nonsense crashes by itself.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


def _ready(socket_type: bytes) -> bytes:
    """The command that ends the handshake."""
    name = b"Socket-Type"
    body = b"\x05READY" + bytes([len(name)]) + name + len(socket_type).to_bytes(4, "big")
    body += socket_type
    return b"\x04" + bytes([len(body)]) + body


def frame(data: bytes, more: bool = False) -> bytes:
    """One part of a message."""
    if len(data) < 256:
        return bytes([more, len(data)]) + data
    return bytes([2 + more]) + len(data).to_bytes(8, "big") + data


def _deliver(path: Path, pieces: Iterable[bytes], shake_hands_as: bytes = b"") -> None:
    """Send, listen for a moment, leave: who leaves at once may not even be read."""
    with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
        line.settimeout(_LISTEN_S)
        line.connect(str(path))
        if shake_hands_as:
            shake_hands(line, shake_hands_as)
        for piece in pieces:
            line.sendall(piece)
        end_s = time.monotonic() + _LISTEN_S
        while time.monotonic() < end_s and line.recv(1 << 16):
            pass


def shake_hands(line: socket.socket, socket_type: bytes) -> None:
    """Each side waits for the other's READY: what is sent before it is a breach, and the end."""
    line.settimeout(_HANDSHAKE_S)
    line.sendall(GREETING)
    heard = _heard(line, b"", lambda heard: len(heard) >= len(GREETING))
    line.sendall(_ready(socket_type))
    _heard(line, heard, lambda heard: b"READY" in heard)
    line.settimeout(_LISTEN_S)


def _heard(line: socket.socket, heard: bytes, enough: Callable[[bytes], bool]) -> bytes:
    """Raises OSError when the other side hangs up or says nothing."""
    while not enough(heard):
        piece = line.recv(4096)
        if not piece:
            raise ConnectionError("hung up")
        heard += piece
    return heard


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
