"""A daemon of its own to be hurt, asked and watched from outside, as a user could.

Nothing here reaches into the daemon's code: it is a child process, asked over its sockets; its
events and states are read from the bus, and what the arm followed from the black box.
"""

import json
import subprocess
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from tandem.drivers.sim import wire
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.errors import DeviceTimeoutError, RefusedError, TandemError
from tandem.runtime.messages import Event, RobotState
from tandem.tools import control
from tandem.tools.faults.daemon import CONFIG, Daemon

_START_TIMEOUT_S = 60.0
_POLL_S = 0.02
_ANSWER_TIMEOUT_S = 10.0
_STATES = 4000  # 20 s of them
T = TypeVar("T")
_SOURCES = ("supervisor", "executor", "s1", "s2", "camera", "sim")


class Rig(Daemon):
    """`with Rig() as rig:` a running daemon that holds; ended and cleaned up whatever happens."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config or CONFIG)
        self.events: list[Event] = []
        self.states: deque[RobotState] = deque(maxlen=_STATES)
        self.children: dict[str, int] = {}  # process ids by role, as of the last `pids()`
        self._bus: ZmqBus | None = None

    def __enter__(self) -> "Rig":
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.end()

    def start(self) -> None:
        """Start the daemon and wait until all its processes are there.

        Raises:
            TandemError: it ended or did not get ready; with what it said.
        """
        self._stop_listening()
        self.launch()
        self.until(self.is_ready, _START_TIMEOUT_S, "ready")
        self._listen()

    def end(self) -> None:
        self._stop_listening()
        super().end()

    # -- asking ------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What `tandem status` shows."""
        return self._insist(self._status)

    def _insist(self, ask: Callable[[], T]) -> T:
        """Ask again for a while: on a crowded machine the supervisor may be starved, and says so.

        Raises:
            TandemError: no answer all the same, or a refusal of another kind.
        """
        deadline_s = time.monotonic() + _ANSWER_TIMEOUT_S
        while True:
            try:
                return ask()
            except TandemError as error:
                crowded = isinstance(error, DeviceTimeoutError) or "ask again" in str(error)
                if not crowded or time.monotonic() > deadline_s or self.returncode is not None:
                    raise

    def _status(self) -> dict[str, Any]:
        data: dict[str, Any] = control.ask(self.folder, "status").data
        return data

    def pids(self) -> dict[str, int]:
        """Process ids of the children that live, by role."""
        children = self.status()["children"].items()
        self.children = {r: child["pid"] for r, child in children if child["pid"] is not None}
        return self.children

    def starts(self, role: str) -> int:
        return int(self.status()["children"][role]["starts"])

    def is_ready(self) -> bool:
        try:
            children = self._status()["children"].values()
        except TandemError:
            return False
        return all(child["state"] == "ready" for child in children)

    def go(self, instruction: str = "sweep") -> None:
        self._insist(lambda: control.go(self.folder, instruction))

    def hold(self) -> None:
        self._insist(lambda: control.ask(self.folder, "hold", server="executor"))

    def reset(self) -> None:
        """Clear a latched fault."""
        self._insist(lambda: control.ask(self.folder, "reset", server="executor"))

    def mode(self) -> str:
        self.poll()
        return self.states[-1].mode if self.states else "unknown"

    def second(self) -> str:
        """Try to start another daemon for the same robot; returns what it said as it gave up."""
        done = subprocess.run(
            self.command, env=self.environment, capture_output=True, timeout=30, check=False
        )
        if done.returncode == 0:
            raise TandemError("a second daemon ran beside the first")
        return done.stderr.decode()

    def sim(self, **wish: Any) -> dict[str, Any]:
        """Ask the simulator: `do="truth"`, `do="teleport"` …"""
        asked = json.dumps(wish)
        reply = self._insist(lambda: control.ask(self.folder, "sim", asked, server=wire.SERVER))
        return reply.data

    # -- watching ----------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._bus = ZmqBus(self.folder, "watcher")
        self._event_lines = [self._bus.subscriber(streams.EVENT, source) for source in _SOURCES]
        self._state_line = self._bus.subscriber(streams.STATE, "executor", conflate=False)

    def _stop_listening(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def poll(self) -> None:
        """Take in what has arrived."""
        for line in self._event_lines:
            self.events += line.poll()
        self.states += self._state_line.poll()

    @property
    def state(self) -> RobotState | None:
        return self.states[-1] if self.states else None

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for a condition.

        Raises:
            TandemError: it did not come true in time, or the daemon ended; with what it said.
        """
        deadline_s = time.monotonic() + seconds
        while True:
            if self._bus is not None:
                self.poll()
            # A machine that is too busy to answer in time has not answered no.
            with suppress(DeviceTimeoutError, RefusedError):
                if condition():
                    return
            if self.returncode is not None:
                raise TandemError(f"the daemon ended ({self.returncode}):\n{self.said()}")
            if time.monotonic() > deadline_s:
                raise TandemError(f"not {what} within {seconds:g} s:\n{self.said()}")
            time.sleep(_POLL_S)

    def watch(self, seconds: float) -> None:
        """Let time pass, taking everything in."""
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            self.poll()
            time.sleep(_POLL_S)
