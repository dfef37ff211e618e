"""A daemon of its own to be hurt: started as a user would, watched from outside as a user could.

Nothing here reaches into the daemon's code: it is a child process, asked over its sockets; its
events and states are read from the bus, and what the arm followed from the black box.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import yaml
from tandem.drivers.sim import blackbox, wire
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.errors import DeviceTimeoutError, RefusedError, TandemError
from tandem.runtime.messages import Event, RobotState
from tandem.tools import control

_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 20.0
_POLL_S = 0.02
_ANSWER_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1
T = TypeVar("T")
_SOURCES = ("supervisor", "executor", "s1", "s2", "camera", "sim")

CONFIG: dict[str, Any] = {
    "schema": 1,
    "robot": {
        "name": "faults",
        "arm": {"driver": "sim", "access": "move"},
        "limits": {
            "file": "limits/panda.yaml",
            "speed_scale": 0.5,
            "acceleration_scale": 0.5,
            "jerk_scale": 0.1,
            "tool_speed_m_s": 0.6,
        },
    },
    # Small pictures: what they show is of no interest here, that they come is.
    "cameras": {"front": {"driver": "sim", "size": [32, 32], "rate_hz": 30}},
    "s2": {"policy": "tandem.tools.faults.sweep:SweepS2", "cameras": ["front"], "rate_hz": 10},
    "s1": {"policy": "tandem.tools.faults.sweep:SweepS1"},
    "executor": {"rate_hz": 200, "priority": 80},
    "sim": {"seed": 1, "cubes": 2},
}


def _end_with_parent() -> None:
    """In the daemon before it starts: a test run that is killed leaves no daemon behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Rig:
    """`with Rig() as rig:` a running daemon that holds; ended and cleaned up whatever happens."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        base = Path("/dev/shm")
        self.base = Path(tempfile.mkdtemp(prefix="tandem-f", dir=base if base.is_dir() else None))
        self.config = config or CONFIG
        self.folder = self.base / self.config["robot"]["name"]
        self.wrap: list[str] = []  # a command that starts the daemon in its place
        self.events: list[Event] = []
        self.states: list[RobotState] = []
        self.children: dict[str, int] = {}  # process ids by role, as of the last `pids()`
        self._bus: ZmqBus | None = None
        self._process: subprocess.Popen[bytes] | None = None

    # -- life --------------------------------------------------------------------------------------

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

    @property
    def log(self) -> Path:
        return self.base / "daemon.log"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TANDEM_RUNTIME_DIR": str(self.base), "PYTHONUNBUFFERED": "1"}

    @property
    def command(self) -> list[str]:
        file = self.base / "faults.yaml"
        file.write_text(yaml.safe_dump(self.config))
        return [*self.wrap, sys.executable, "-m", "tandem.tools.main", "run", str(file)]

    def launch(self) -> None:
        """Start the daemon, and do not wait."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

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
        """Stop politely, then by force; nothing of it is left."""
        self._stop_listening()
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.base, ignore_errors=True)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = _END_TIMEOUT_S) -> int:
        """The exit status of the daemon; raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(seconds)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll() if self._process is not None else None

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
        control.ask(self.folder, "hold", server="executor")

    def reset(self) -> None:
        """Clear a latched fault."""
        control.ask(self.folder, "reset", server="executor")

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
        data: dict[str, Any] = control.ask(
            self.folder, "sim", json.dumps(wish), server=wire.SERVER
        ).data
        return data

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

    def said(self) -> str:
        try:
            return self.log.read_text(errors="replace")[-4000:]
        except OSError:
            return ""

    @contextmanager
    def kept_record(self) -> Iterator[Callable[[], blackbox.Record]]:
        """The same record, to be read even after the daemon has ended and cleaned up."""
        with wire.black_box(self.folder).open("rb") as file:
            yield lambda: blackbox.read(Path(f"/proc/self/fd/{file.fileno()}"))

    def record(self) -> blackbox.Record:
        """Everything that the arm followed in the last two minutes."""
        return blackbox.read(wire.black_box(self.folder))
