"""A daemon as a child process: started as a user would start it, and ended whatever happens."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tandem.drivers.sim import blackbox, wire
from tandem.runtime.realtime import end_with_parent

_END_TIMEOUT_S = 20.0
_SAID_MAX = 4000

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


class Daemon:
    """One `tandem run` in a runtime folder of its own; nothing of it is left after `end`."""

    def __init__(self, config: dict[str, Any]) -> None:
        base = Path("/dev/shm")
        self.base = Path(tempfile.mkdtemp(prefix="tandem-f", dir=base if base.is_dir() else None))
        self.config = config
        self.folder = self.base / config["robot"]["name"]
        self.wrap: list[str] = []  # a command that starts the daemon in its place
        self._process: subprocess.Popen[bytes] | None = None

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
                preexec_fn=end_with_parent,
            )

    def end(self) -> None:
        """Stop politely, then by force; nothing of it is left."""
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
        """Send a signal to the supervisor."""
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

    def said(self) -> str:
        """The end of what it wrote to its terminal."""
        try:
            return self.log.read_text(errors="replace")[-_SAID_MAX:]
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
