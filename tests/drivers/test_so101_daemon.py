"""The whole daemon on an emulated SO-101, as its owner runs it, and the cable that comes off."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.drivers.so101_rig import Emulator

pytestmark = pytest.mark.process
RUN = [sys.executable, "-m", "tandem.tools.main", "run"]
CONFIG = {
    "schema": 1,
    "robot": {
        "name": "so101",
        "arm": {"driver": "so101", "access": "move"},
        "limits": {"file": "limits/so101.yaml"},
    },
    "s1": {"policy": "tandem.tools.bench.swing:make"},
    "executor": {"rate_hz": 100},
}


class Daemon:
    """`tandem run` in the background, and the verbs beside it."""

    def __init__(self, folder: Path, port: Path) -> None:
        CONFIG["robot"]["arm"]["host"] = str(port)  # type: ignore[index]
        self.config = folder / "so101.yaml"
        self.config.write_text(yaml.safe_dump(CONFIG))
        self.environment = os.environ | {
            "TANDEM_RUNTIME_DIR": str(folder),
            "PYTHONUNBUFFERED": "1",
        }
        self.log = folder / "said.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*RUN, str(self.config), "--go", "swing"],
                stdout=log,
                stderr=log,
                env=self.environment,
            )

    def reset(self) -> None:
        """Asked again where a starved daemon is late."""
        command = [sys.executable, "-m", "tandem.tools.main", "reset"]
        for _ in range(5):
            if subprocess.run(command, timeout=60, env=self.environment).returncode == 0:
                return
        raise AssertionError(self.said())

    def wait_for(self, words: str, seconds: float = 60.0) -> None:
        end_s = time.monotonic() + seconds
        while not re.search(words, self.said()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end_s, f"no {words!r} in\n{self.said()}"
            time.sleep(0.05)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name fits into a socket's."""
    with tempfile.TemporaryDirectory(prefix="so101-") as folder:
        yield Path(folder)


@pytest.fixture
def emulator(short: Path) -> Iterator[Emulator]:
    made = Emulator(short)
    yield made
    made.close()


def _counts(emulator: Emulator, what: str, least: int) -> dict[str, int]:
    """What was counted, once it is so many."""
    end_s = time.monotonic() + 20.0
    while (counts := emulator.count())[what] < least:
        assert time.monotonic() < end_s, f"{counts}, not {least} {what}"
        time.sleep(0.05)
    return counts


def test_a_day_with_a_loose_cable(emulator: Emulator, short: Path):
    """
    1. The policy moves the arm.
    2. The cable comes off: a fault that says so.
    3. It is put back: nothing moves until somebody asks for it.
    4. Reset, and the daemon holds the arm again; then it ends in order.
    """
    daemon = Daemon(short, emulator.link)
    try:
        daemon.wait_for("hold → policy")
        _counts(emulator, "sync_writes", 21)
        emulator.tell("unplug")
        daemon.wait_for("→ fault: .*is gone.*plug it in")
        emulator.tell("plug")
        before = emulator.count()
        after = _counts(emulator, "sync_reads", before["sync_reads"] + 30)  # it is heard again
        assert after["sync_writes"] == before["sync_writes"]
        daemon.reset()
        daemon.wait_for("fault → hold: fault reset")
        _counts(emulator, "sync_writes", after["sync_writes"] + 11)
    finally:
        daemon.close()
    assert daemon.process.returncode == 0, daemon.said()
