"""The operator's terminal: raw while we run, as it was afterwards; nothing here ever blocks.

It is opened a second time by its name, because a descriptor that is set not to block would stay so
for the shell that shares it. A picture that does not fit into a slow link is dropped; only what
gives the terminal back at the end is said for a while.
"""

import contextlib
import os
import sys
import termios
import time
import tty

from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import DeviceError
from tandem.tools.teleop.keys import Key, Parser, Reply

_KITTY_QUERY = b"\x1b[?u"
_ATTRIBUTES_QUERY = b"\x1b[c"  # every terminal answers: after it, no Kitty reply will come
_KITTY_ON, _KITTY_OFF = b"\x1b[>11u", b"\x1b[<u"  # escape codes for all keys, with releases
_FOCUS_ON, _FOCUS_OFF = b"\x1b[?1004h", b"\x1b[?1004l"
_CURSOR_OFF, _CURSOR_ON = b"\x1b[?25l", b"\x1b[?25h"
_ANSWER_S = 1.0
_PING_NS = 50 * NS_PER_MS
_FAREWELL_S = 1.0  # for a link that is full: half of it would leave a shell that nobody can use
_CHUNK = 4096


class Terminal:
    """A context manager. `kitty`: key releases are reported."""

    def __init__(self) -> None:
        self.kitty = False
        self.gone = False  # hung up
        self._parser = Parser()
        self._pinged_ns = 0
        self.fd = -1

    @staticmethod
    def there() -> bool:
        return sys.stdin.isatty()

    def __enter__(self) -> "Terminal":
        """Raises DeviceError: standard input is no terminal."""
        try:
            name = os.ttyname(sys.stdin.fileno())
            self.fd = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceError(f"the keyboard needs a terminal: {error}; try ssh -t") from error
        self._saved = termios.tcgetattr(self.fd)
        try:
            tty.setraw(self.fd, termios.TCSANOW)
            self.kitty = self._speaks_kitty()
            self.write(_CURSOR_OFF + _FOCUS_ON + (_KITTY_ON if self.kitty else b""))
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def read(self) -> list[Key | Reply]:
        """What has arrived; `gone` is set when there is no terminal any more."""
        try:
            data = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        self.gone = not data
        return self._parser.feed(data)

    def write(self, data: bytes) -> bool:
        """False: the link is slow, and not all of it was taken."""
        try:
            return os.write(self.fd, data) == len(data)
        except OSError:
            return False

    def ping(self, now_ns: int) -> None:
        """Ask a Kitty terminal twenty times a second whether it is there."""
        if self.kitty and now_ns - self._pinged_ns >= _PING_NS:
            self._pinged_ns = now_ns
            self.write(_KITTY_QUERY)

    def _speaks_kitty(self) -> bool:
        self.write(_KITTY_QUERY + _ATTRIBUTES_QUERY)
        kitty, deadline_s = False, time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline_s and not self.gone:
            replies = self.read()
            kitty = kitty or Reply("kitty") in replies
            if Reply("attributes") in replies:
                break
            time.sleep(0.01)
        return kitty

    def _insist(self, data: bytes) -> None:
        deadline_s = time.monotonic() + _FAREWELL_S
        while data and time.monotonic() < deadline_s:
            try:
                data = data[os.write(self.fd, data) :]
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:  # hung up
                return

    def _restore(self) -> None:
        if self.fd < 0:
            return
        self._insist((_KITTY_OFF if self.kitty else b"") + _FOCUS_OFF + _CURSOR_ON)
        with contextlib.suppress(termios.error):
            termios.tcflush(self.fd, termios.TCIFLUSH)  # keys meant for the arm, not for the shell
            termios.tcsetattr(self.fd, termios.TCSANOW, self._saved)
        os.close(self.fd)
        self.fd = -1
