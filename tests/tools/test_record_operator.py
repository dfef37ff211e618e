"""What an operator does is recorded with who did it, so that it can train the next policy."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus, request
from tandem.runtime.messages import OperatorCommand, Request
from tandem.tools.record.reader import Recording
from tandem.tools.replay import executor
from tandem.tools.replay.source import settings_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]


def ask(runtime_dir: Path, verb: str) -> bool:
    question = Request(verb=verb, text="ann", t_ns=time.monotonic_ns(), valid=True)
    return request(runtime_dir, "executor", question).ok


def drive(runtime_dir: Path, seconds: float) -> int:
    """Take the lease, swing two joints with the dead-man held, let go; how many commands."""
    bus = ZmqBus(runtime_dir, "teleop")
    out = bus.publisher(streams.OPERATOR)
    assert ask(runtime_dir, "take_lease")
    began_s, n = time.monotonic(), 0
    while (t_s := time.monotonic() - began_s) < seconds:
        velocity = np.zeros(7)
        velocity[[0, 3]] = 0.3 * np.sin(2 * t_s), 0.2 * np.sin(3 * t_s)
        held = 0.3 < t_s < seconds - 0.5
        out.send(
            OperatorCommand(
                lease="ann",
                want="drive" if held else "standby",
                deadman=held,
                frame="joint",
                velocity=velocity,
                t_ns=time.monotonic_ns(),
                valid=True,
            )
        )
        n += 1
        time.sleep(0.01)
    assert ask(runtime_dir, "release_lease")
    bus.close()
    return n


def test_an_operator_at_the_fake_arm(tmp_path: Path) -> None:
    base = Path(tempfile.mkdtemp(prefix="tandem-test-", dir="/dev/shm"))
    words = ["run", "fake", "--seconds", "4", "--record-to", str(tmp_path)]
    daemon = subprocess.Popen(
        [sys.executable, "-m", "tandem.tools.main", *words],
        env=os.environ | {"TANDEM_RUNTIME_DIR": str(base)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline_s = time.monotonic() + 20
        while not (base / "fake" / "request.executor").exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        time.sleep(0.7)  # the executor holds
        said = drive(base / "fake", 2.0)
        told, _ = daemon.communicate(timeout=30)
        assert daemon.returncode == 0, told
    finally:
        daemon.kill()
        daemon.wait()
    base.rmdir()
    (folder,) = tmp_path.glob("fake-*")
    recording = Recording(folder)
    commands = [entry.message for entry in recording.entries("operator")]
    assert said - 30 <= len(commands) <= said  # the first may be missed, and nothing after them
    assert commands[-1].seq == said - 1
    assert recording.holes() == []
    states = [entry.message for entry in recording.entries("state")]
    driven = [state for state in states if state.mode == "teleop"]
    assert len(driven) > 150
    assert {state.operator for state in driven} == {"ann"}
    asked = [
        e.message.data["verb"]
        for e in recording.entries("event")
        if e.source == "executor" and e.message.kind == "request"
    ]
    assert asked[:2] == ["take_lease", "release_lease"]
    verdict = executor.replay(recording, settings_of(recording, []), tolerance=1e-3)
    assert verdict.compared > 500
    sides = [d for d in verdict.differences if "path" in d.what]
    assert sides == []  # a command that is heard one tick later moves it by micrometres
    assert len(verdict.differences) <= 4  # and may make a mode begin one tick later
