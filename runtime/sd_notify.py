"""systemd's readiness protocol: a datagram of KEY=value lines to the socket in NOTIFY_SOCKET."""

import contextlib
import os
import socket

from tandem.runtime.clock import NS_PER_US


class Notifier:
    """Does nothing where systemd did not start us."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")  # popped: children must not speak for us
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        # Fed at half its period, as sd_watchdog_enabled(3) advises.
        self.watchdog_period_ns = int(os.environ.pop("WATCHDOG_USEC", "0")) * NS_PER_US // 2

    def send(self, **words: str | int) -> None:
        if self._socket is None:
            return
        text = "\n".join(f"{key}={value}" for key, value in words.items())
        with contextlib.suppress(BlockingIOError):  # systemd is busy; the next word comes
            self._socket.sendto(text.encode(), self._address)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
