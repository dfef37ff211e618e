"""A terminal emulator, as far as teleop sees it, on a pseudo-terminal; and a daemon to drive."""

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
from pathlib import Path

import numpy as np
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.messages import RobotState
from tandem.tools import control

_MAIN = (sys.executable, "-m", "tandem.tools.main")
_CODES = {"space": 32, "tab": 9}


class Operator:
    """Somebody at a terminal in which `tandem teleop` runs. `kitty`: it tells of key releases."""

    def __init__(self, base: Path, *options: str, kitty: bool = True) -> None:
        self.kitty = kitty
        self.linked = True  # set it to False: nothing gets through any more
        self.shown = b""
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            (*_MAIN, "teleop", *options),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | {"TANDEM_RUNTIME_DIR": str(base), "TERM": "xterm"},
            start_new_session=True,
        )
        self.slave = slave
        self._screen = threading.Thread(target=self._answer, daemon=True)
        self._screen.start()

    def down(self, key: str) -> None:
        self._type(f"\x1b[{_CODES.get(key, ord(key[0]))};1:1u")

    def up(self, key: str) -> None:
        self._type(f"\x1b[{_CODES.get(key, ord(key[0]))};1:3u")

    def tap(self, key: str) -> None:
        if self.kitty:
            self.down(key)
            self.up(key)
        else:
            self._type("\t" if key == "tab" else key)

    def sees(self, words: str) -> bool:
        return words in self.shown.decode(errors="replace")

    def until_sees(self, words: str, seconds: float = 15.0) -> None:
        until(lambda: self.sees(words), seconds, lambda: self.shown[-3000:].decode())

    def forget(self) -> None:
        self.shown = b""

    def settings_now(self) -> list:
        return termios.tcgetattr(self.slave)

    def ends(self, seconds: float = 10.0) -> int:
        return self.process.wait(seconds)

    def hang_up(self) -> None:
        """The window is closed: nobody answers, and every read fails."""
        self.linked = False
        self._screen.join(2)
        os.close(self.slave)
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.master >= 0:
            self.hang_up()

    def _type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def _answer(self) -> None:
        """Read what is drawn, and answer the questions that a terminal is asked."""
        while self.linked:
            if not select.select([self.master], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self.master, 4096)
            except OSError:
                return
            self.shown += data
            for _ in range(data.count(b"\x1b[?u") if self.kitty else 0):
                os.write(self.master, b"\x1b[?0u")
            if b"\x1b[c" in data:
                os.write(self.master, b"\x1b[?62;c")


class FakeRobot:
    """`tandem run fake`, and what it says of its arm."""

    def __init__(self, base: Path) -> None:
        self._log = (base / "said.txt").open("wb")
        self.process = subprocess.Popen(
            (*_MAIN, "run", "fake", "--config-override", "executor.priority=0"),
            stdout=self._log,
            stderr=self._log,
            env=os.environ | {"TANDEM_RUNTIME_DIR": str(base)},
            start_new_session=True,
        )
        said = base / "said.txt"
        until(lambda: b"ready: holding" in said.read_bytes(), 30, said.read_text)
        self.folder = base / "fake"
        self._bus = ZmqBus(self.folder, "watcher")
        self._states = self._bus.subscriber(streams.STATE, "executor", conflate=False)
        self.states: list[RobotState] = []
        until(lambda: bool(self.look()), 10)

    def look(self) -> list[RobotState]:
        self.states += self._states.poll()
        return self.states

    @property
    def state(self) -> RobotState:
        return self.look()[-1]

    def until(self, condition: Callable[[RobotState], bool], seconds: float = 10.0) -> None:
        until(lambda: condition(self.state), seconds, lambda: repr(self.state))

    def speeds(self) -> tuple[np.ndarray, np.ndarray]:
        """Of every state so far: t_s, the fastest joint's rad/s."""
        states = self.look()
        t_s = np.array([s.t_ns for s in states]) / 1e9
        return t_s, np.array([abs(s.dq_cmd).max() for s in states])

    def ask(self, verb: str, server: str = "executor") -> str:
        return control.ask(self.folder, verb, server=server).text

    def close(self) -> None:
        self._bus.close()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


def until(
    condition: Callable[[], bool], seconds: float, why: Callable[[], str] = lambda: ""
) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, why()
        time.sleep(0.01)
