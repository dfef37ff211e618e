"""The end that a program opens: a pseudo-terminal, under a name that outlives unplugging."""

import errno
import os
import pty
import select
import time
import tty
from pathlib import Path

from tandem.tools.feetech_emulator.bus import Wire

_BITS_PER_BYTE = 10
_CHUNK = 4096


class Port:
    """Serves a wire. With `baud`, an answer takes the time that all its bytes take on it."""

    def __init__(self, wire: Wire, link: Path, baud: int | None = 1_000_000) -> None:
        self.wire, self.link, self._baud = wire, link, baud
        self._master = self._slave = -1
        self.plug()

    @property
    def plugged(self) -> bool:
        return self._master >= 0

    def plug(self) -> None:
        """Appear; idempotent."""
        if self.plugged:
            return
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        # One step from the old name to the new, so that nobody finds none in between.
        aside = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        aside.unlink(missing_ok=True)
        aside.symlink_to(os.ttyname(self._slave))
        aside.replace(self.link)

    def unplug(self) -> None:
        """Vanish, as a USB adapter does; idempotent."""
        if not self.plugged:
            return
        self.link.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def fileno(self) -> int:
        return self._master

    def serve(self, timeout_s: float) -> None:
        """Wait for bytes for at most so long, and answer them."""
        if not self.plugged:
            time.sleep(timeout_s)
            return
        if select.select([self._master], [], [], timeout_s)[0]:
            self.answer()

    def answer(self) -> None:
        """Take what is there and answer it."""
        asked = self._take()
        if not asked:
            return
        began_s = time.monotonic()
        faults = self.wire.faults
        self.wire.advance(began_s)
        said = self.wire.take(asked)
        wire_s = (len(asked) + len(said)) * _BITS_PER_BYTE / self._baud if self._baud else 0.0
        left_s = began_s + wire_s + faults.hold_back_s - time.monotonic()
        if said and left_s > 0:
            time.sleep(left_s)
        self._say(said)

    def _take(self) -> bytes:
        try:
            return os.read(self._master, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno == errno.EIO:
                return b""
            raise

    def _say(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                return  # nobody reads: a wire forgets
