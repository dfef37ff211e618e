"""A terminal emulator, as far as `tandem teleop` sees one, on a pseudo-terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tandem.runtime.errors import TandemError

_CODES = {"space": 32, "tab": 9}
_END_S = 5.0
_LOOK_S = 0.05


def pressed(key: str) -> bytes:
    """What a terminal sends that speaks the Kitty protocol."""
    return f"\x1b[{_code(key)};1:1u".encode()


def released(key: str) -> bytes:
    return f"\x1b[{_code(key)};1:3u".encode()


def _code(key: str) -> int:
    return _CODES.get(key) or ord(key)


def answers(shown: bytes, kitty: bool = True) -> bytes:
    """To the questions that a terminal is asked: what it speaks, and whether it is there."""
    said = b"\x1b[?0u" * shown.count(b"\x1b[?u") if kitty else b""
    return said + (b"\x1b[?62;c" if b"\x1b[c" in shown else b"")


class Hand:
    """Somebody at a terminal in which `tandem teleop` runs. `kitty`: it tells of key releases."""

    def __init__(self, base: Path, *options: str, kitty: bool = True) -> None:
        """`base` is the folder of the robots' runtime folders."""
        self.kitty = kitty
        self.linked = True  # set it to False: nothing gets through any more
        self.shown = b""
        self._showing = threading.Lock()  # or what is drawn while somebody forgets stays
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            (sys.executable, "-m", "tandem.tools.main", "teleop", *options),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | {"TANDEM_RUNTIME_DIR": str(base), "TERM": "xterm"},
            start_new_session=True,
        )
        self.slave = slave
        self._screen = threading.Thread(target=self._serve, daemon=True)
        self._screen.start()

    # -- keys --------------------------------------------------------------------------------------

    def down(self, *keys: str) -> None:
        self.type(b"".join(pressed(key) for key in keys))

    def up(self, *keys: str) -> None:
        self.type(b"".join(released(key) for key in keys))

    def tap(self, key: str) -> None:
        if self.kitty:
            self.down(key)
            self.up(key)
        else:
            self.type(b"\t" if key == "tab" else key.encode())

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    # -- what is shown -----------------------------------------------------------------------------

    def sees(self, words: str) -> bool:
        return words in self.shown.decode(errors="replace")

    def until_sees(self, words: str, seconds: float = 40.0) -> None:
        """Raises TandemError: it did not come in time; with what was shown instead."""
        until(lambda: self.sees(words), seconds, lambda: self.shown[-3000:].decode())

    def forget(self) -> None:
        with self._showing:
            self.shown = b""

    def _show(self, data: bytes) -> None:
        with self._showing:
            self.shown += data

    def settings_now(self) -> list[Any]:
        """Of the terminal, as termios gives them."""
        return termios.tcgetattr(self.slave)

    # -- the end -----------------------------------------------------------------------------------

    def ends(self, seconds: float = 10.0) -> int:
        return self.process.wait(seconds)

    def hang_up(self) -> None:
        """The window is closed: nobody answers, and every read fails."""
        self.linked = False
        self._screen.join(20)  # a thread that still reads would read what gets this number next
        os.close(self.slave)
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.master >= 0:
            self.hang_up()

    def _serve(self) -> None:
        """Read what is drawn, and answer."""
        while self.linked:
            if not select.select([self.master], [], [], _LOOK_S)[0]:
                continue
            try:
                data = os.read(self.master, 4096)
            except OSError:
                return
            self._show(data)
            with suppress(OSError):
                os.write(self.master, answers(data, self.kitty))


def until(
    condition: Callable[[], bool], seconds: float, why: Callable[[], str] = lambda: ""
) -> None:
    """Wait for a condition.

    Raises:
        TandemError: it did not come true in time.
    """
    deadline_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline_s:
            raise TandemError(f"not within {seconds:g} s: {why()}")
        time.sleep(0.01)
