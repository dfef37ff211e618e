"""systemd's readiness protocol: a datagram of KEY=value lines to the socket in NOTIFY_SOCKET."""

import contextlib
import os
import socket
from collections.abc import Sequence

from tandem.runtime.clock import NS_PER_US
from tandem.runtime.messages import RobotState


class Notifier:
    """Does nothing where systemd did not start us."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")  # popped: children must not speak for us
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        self.watchdog_period_ns = _watchdog_period_ns()

    def send(self, **words: str | int) -> None:
        if self._socket is None:
            return
        text = "\n".join(f"{key}={value}" for key, value in words.items())
        # Busy, or being replaced: the robot goes on, and the next word comes.
        with contextlib.suppress(OSError):
            self._socket.sendto(text.encode(), self._address)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def status(state: RobotState | None, instruction: str, missing: Sequence[str]) -> str:
    """One line of how the robot is, for `systemctl status`."""
    if missing:
        return f"without {', '.join(missing)}, starting again"
    if state is None:
        return "waiting for the robot's first state"
    why = state.fault or state.holding_for
    words = f"{state.mode}: {instruction or 'no task'}{f' ({why})' if why else ''}"
    return words.replace("\n", " ")


def _watchdog_period_ns() -> int:
    """Half of what systemd asks for, as sd_watchdog_enabled(3) advises; 0: it does not watch us."""
    asked_us = os.environ.pop("WATCHDOG_USEC", "")
    meant_for = os.environ.pop("WATCHDOG_PID", "")
    if not asked_us.isdecimal() or meant_for not in ("", str(os.getpid())):
        return 0
    return int(asked_us) * NS_PER_US // 2
