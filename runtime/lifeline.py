"""The line between the supervisor and each child: one socket pair, inherited at birth.

The child says when it is ready, or why it cannot be; either side learns of the other's death from
the kernel, as the end of the line, without a heartbeat that could be late. Heartbeats run on it for
the one thing that the kernel does not tell: that the other side stands still. The child sends each
one back from its own loop: what it publishes may arrive half a second late on a busy machine while
the loop has not missed a tick.
"""

import contextlib
import os
import socket
from typing import Any

import msgspec

FD_VARIABLE = "TANDEM_LIFELINE_FD"
HEARTBEAT = b"\n"
_READ_BYTES = 1 << 12


class Word(msgspec.Struct, omit_defaults=True):
    """One line from a child: ready with its facts, or failed with the reason."""

    ready: bool = False
    failed: str = ""
    facts: dict[str, Any] = {}


def parse(line: bytes) -> Word | None:
    try:
        return msgspec.json.decode(line, type=Word)
    except msgspec.MsgspecError:
        return None


class Lifeline:
    """The child's end. Without a supervisor (started by hand, in a test) it is never cut."""

    def __init__(self, descriptor: int | None) -> None:
        self._socket = None if descriptor is None else socket.socket(fileno=descriptor)
        self._heard_ns: int | None = None
        if self._socket is not None:
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls) -> "Lifeline":
        text = os.environ.pop(FD_VARIABLE, "")
        return cls(int(text) if text else None)

    def ready(self, facts: dict[str, Any]) -> None:
        self._say(Word(ready=True, facts=facts))

    def failed(self, reason: str) -> None:
        self._say(Word(failed=reason))

    def silence_ns(self, now_ns: int) -> int:
        """Time since the supervisor's last heartbeat; a very long one when the line is cut.

        Sends a heartbeat back for what it hears. Counts from the first heartbeat on; 0 before, and
        always without a supervisor.
        """
        if self._socket is None:
            return 0
        try:
            while data := self._socket.recv(_READ_BYTES):
                self._heard_ns = now_ns
                self._send(HEARTBEAT)
                if len(data) < _READ_BYTES:
                    break
            else:
                return 1 << 62
        except BlockingIOError:
            pass
        except OSError:
            return 1 << 62
        return 0 if self._heard_ns is None else now_ns - self._heard_ns

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _say(self, word: Word) -> None:
        self._send(msgspec.json.encode(word) + b"\n")

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            return
        # It is gone, and the next look at silence_ns says so; or it does not read, which is its own
        # affair.
        with contextlib.suppress(OSError):
            self._socket.sendall(data)
