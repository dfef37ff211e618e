"""An emulated robot in the simulated cell, in lockstep, in a process of its own."""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tandem.runtime.errors import DeviceError
from tandem.runtime.realtime import end_with_parent
from tandem.tools.fci_emulator import desk

PATIENCE_S = 60.0  # drawing the first picture, or a crowded machine, takes seconds
_START_S = 60.0
_hosts = itertools.count(1)


def fresh_host() -> str:
    """A loopback address that nobody else uses: each process has a net of its own."""
    n = os.getpid() * 64 + next(_hosts)
    return f"127.{1 + n // 62500 % 250}.{1 + n // 250 % 250}.{1 + n % 250}"


class Robot:
    """An emulated robot in the simulated cell, in a process of its own that ends with this one."""

    def __init__(self, driver: str) -> None:
        """Raises DeviceError: it does not start."""
        self.host = fresh_host()
        self._folder = tempfile.TemporaryDirectory(prefix="tandem-fci-")
        self.box = Path(self._folder.name) / "blackbox"
        words = ("--host", self.host, "--robot", driver.removeprefix("franka_"), "--lockstep")
        words = (*words, "--patience", str(PATIENCE_S), "--black-box", str(self.box))
        self._process = subprocess.Popen(
            (sys.executable, "-m", "tandem.tools.fci_emulator.main", *words),
            stdout=subprocess.DEVNULL,
            preexec_fn=end_with_parent,
        )
        self._line = self._await()

    def ask(self, do: str, **asked: Any) -> dict[str, Any]:
        """Raises what desk.Line.ask raises."""
        return self._line.ask(do=do, **asked)

    def close(self) -> None:
        self._line.close()
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()

    def _await(self) -> desk.Line:
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                return desk.Line(self.host, PATIENCE_S)
            except DeviceError:
                if self._process.poll() is not None or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)
