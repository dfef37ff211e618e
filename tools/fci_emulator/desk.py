"""The emulator's own port: one line of JSON asks, one answers. What no real robot has."""

import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any

from tandem.runtime.errors import DeviceError, RefusedError, TandemError

PORT = 1340
_MAX_LINE = 1 << 16

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class Desk:
    """Answers whoever asks, without ever waiting."""

    def __init__(self, host: str, answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.create_server((host, PORT))
        self._listener.setblocking(False)
        self._said: dict[socket.socket, bytearray] = {}

    def sockets(self) -> list[socket.socket]:
        return [self._listener, *self._said]

    def poll(self) -> None:
        try:
            caller, _ = self._listener.accept()
            caller.setblocking(False)
            self._said[caller] = bytearray()
        except OSError:
            pass
        for caller in list(self._said):
            self._hear(caller)

    def close(self) -> None:
        for open_socket in self.sockets():
            open_socket.close()

    def _hear(self, caller: socket.socket) -> None:
        said = self._said[caller]
        try:
            chunk = caller.recv(_MAX_LINE)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        said += chunk
        while b"\n" in said:
            line, _, rest = bytes(said).partition(b"\n")
            said[:] = rest
            caller.sendall(json.dumps(self._reply(line)).encode() + b"\n")
        if not chunk or len(said) > _MAX_LINE:
            caller.close()
            del self._said[caller]

    def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            return {"ok": True, **self._answer(asked)}
        except (TandemError, ValueError, KeyError, AttributeError, TypeError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}


class Line:
    """A connection to a running emulator's own port that stays open."""

    def __init__(self, host: str, timeout_s: float = 3.0) -> None:
        """Raises DeviceError: none is running there."""
        self._host = host
        try:
            self._socket = socket.create_connection((host, PORT), timeout_s)
        except OSError as error:
            raise self._gone(error) from error
        self._answers = self._socket.makefile()

    def ask(self, **asked: Any) -> dict[str, Any]:
        """
        Raises:
            DeviceError: it does not answer any more.
            RefusedError: it will not do that.
        """
        try:
            self._socket.sendall(json.dumps(asked).encode() + b"\n")
            reply = json.loads(self._answers.readline() or '{"ok": false, "error": "it ended"}')
        except OSError as error:
            raise self._gone(error) from error
        if not reply.pop("ok"):
            raise RefusedError(f"the emulator will not do that: {reply['error']}")
        return dict(reply)

    def close(self) -> None:
        self._answers.close()
        self._socket.close()

    def _gone(self, error: OSError) -> DeviceError:
        return DeviceError(
            f"no emulator answers on {self._host} ({error}); start one: "
            f"tandem fci-emulator --host {self._host}"
        )


def ask(host: str, timeout_s: float = 3.0, **asked: Any) -> dict[str, Any]:
    """Ask a running emulator once; raises what `Line` raises."""
    with contextlib.closing(Line(host, timeout_s)) as line:
        return line.ask(**asked)
