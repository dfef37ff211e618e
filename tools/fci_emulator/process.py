"""An emulated robot in a process of its own."""

import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tandem.runtime.errors import DeviceError
from tandem.runtime.realtime import end_with_parent
from tandem.tools.fci_emulator import desk

PATIENCE_S = 60.0  # drawing the first picture, or a crowded machine, takes seconds
_START_S = 60.0
_TRY_S = 0.05
_hosts = itertools.count(1)


def fresh_host() -> str:
    """A loopback address that nobody else uses: each process has a net of its own."""
    n = os.getpid() * 64 + next(_hosts)
    return f"127.{1 + n // 62500 % 250}.{1 + n // 250 % 250}.{1 + n % 250}"


@contextlib.contextmanager
def serving(host: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """An emulator at `host`, started with these words more, that answers; it ends with the block,
    and with this process.

    Raises:
        DeviceError: it does not start.
    """
    process = subprocess.Popen(
        (sys.executable, "-m", "tandem.tools.fci_emulator.main", "--host", host, *words),
        stdout=subprocess.DEVNULL,
        preexec_fn=end_with_parent,
    )
    try:
        _await(process, host)
        yield process
    finally:
        process.kill()
        process.wait()


def _await(process: subprocess.Popen[bytes], host: str) -> None:
    deadline_s = time.monotonic() + _START_S
    while True:
        try:
            desk.ask(host, do="report")
            return
        except DeviceError:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise
            time.sleep(_TRY_S)


class Robot:
    """An emulated robot in the simulated cell, in lockstep."""

    def __init__(self, driver: str) -> None:
        """Raises DeviceError: it does not start."""
        self.host = fresh_host()
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-fci-"))
            self.box = Path(folder) / "blackbox"
            words = ("--robot", driver.removeprefix("franka_"), "--lockstep")
            words = (*words, "--patience", str(PATIENCE_S), "--black-box", str(self.box))
            stack.enter_context(serving(self.host, *words))
            self._line = desk.Line(self.host, PATIENCE_S)
            stack.callback(self._line.close)
            self._stack = stack.pop_all()

    def ask(self, do: str, **asked: Any) -> dict[str, Any]:
        """Raises what desk.Line.ask raises."""
        return self._line.ask(do=do, **asked)

    def close(self) -> None:
        self._stack.close()
