"""A daemon to drive, and the terminal emulator to drive it from."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.errors import TandemError
from tandem.runtime.messages import RobotState
from tandem.tools import control
from tandem.tools.faults.hands.terminal import Hand as Operator
from tandem.tools.faults.hands.terminal import until

__all__ = ["FakeRobot", "Operator", "presses", "until"]

_MAIN = (sys.executable, "-m", "tandem.tools.main")


def presses(operator: Operator, key: str, heard: Callable[[], None]) -> None:
    """Until `heard` returns: who has stood still for a moment wants a key let go of first."""
    for _ in range(4):
        operator.down(key)
        with contextlib.suppress(TandemError):
            heard()
            return
        operator.up(key)
        time.sleep(0.2)
    raise AssertionError(f"nobody hears {key}: {operator.shown[-1000:].decode(errors='replace')}")


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
