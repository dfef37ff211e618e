"""What an operator does is recorded with who did it, so that it can train the next policy."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import zmq
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus, ZmqPublisher, request
from tandem.runtime.errors import ConfigError, DeviceTimeoutError
from tandem.runtime.messages import OperatorCommand, Request
from tandem.tools.record.reader import Recording
from tandem.tools.replay import executor
from tandem.tools.replay.source import settings_of

from tests.tools.recorded_run import overridden, processes, started, without

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]


def ask(runtime_dir: Path, verb: str) -> bool:
    """A starved executor refuses what has come late: then again."""
    for _ in range(10):
        question = Request(verb=verb, text="ann", t_ns=time.monotonic_ns(), valid=True)
        reply = request(runtime_dir, "executor", question, 10_000_000_000)
        if "ask again" not in reply.text:
            break
    return reply.ok


def found_by(out: ZmqPublisher, readers: int) -> None:
    """Until so many listen; who came before we looked is not told of, so not for ever."""
    line = out._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    for _ in range(readers):
        if line.poll(3000):
            line.recv_multipart()


def drive(runtime_dir: Path, seconds: float) -> int:
    """Take the lease, swing two joints with the dead-man held, let go; how many commands."""
    bus = ZmqBus(runtime_dir, "teleop")
    out = bus.publisher(streams.OPERATOR)
    found_by(out, 2)  # the executor and the recorder
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


def await_hold(base: Path) -> None:
    deadline_s = time.monotonic() + 40
    while mode(base) != "hold":
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def await_recorder(out: Path) -> None:
    """Until it has written twice: then it hears everybody."""
    deadline_s, sizes = time.monotonic() + 40, set[int]()
    while len(sizes) < 3:
        assert time.monotonic() < deadline_s
        sizes.add(sum(file.stat().st_size for file in out.glob("fake-*/*.mcap")))
        time.sleep(0.05)


def mode(base: Path) -> str:
    question = Request(verb="status", t_ns=time.monotonic_ns(), valid=True)
    try:
        return str(request(base / "fake", "executor", question, 200_000_000).data["mode"])
    except DeviceTimeoutError:
        return "not there"


def freeze(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def ending(daemon: "subprocess.Popen[str]") -> Iterator[None]:
    """With Ctrl-C, in order; or at once, if the test fails."""
    try:
        yield
        daemon.send_signal(signal.SIGINT)
        told, _ = daemon.communicate(timeout=30)
        assert daemon.returncode == 0, told
    finally:
        daemon.kill()


def recorded(base: Path, out: Path, *overrides: str) -> tuple[Recording, int]:
    """An operator drives the fake arm for a while; and how many commands they sent."""
    words = ["run", "fake", "--record-to", str(out), *overridden(*overrides)]
    with started(*words, base=base) as daemon, ending(daemon):
        await_hold(base)
        await_recorder(out)
        said = drive(base / "fake", 1.6)
    (folder,) = out.glob("fake-*")
    return Recording(folder), said


def test_an_operator_is_recorded_and_decided_again_to_the_last_bit(
    base: Path, tmp_path: Path
) -> None:
    for n in range(3):  # a machine that stands still for 0.1 s takes the arm from anybody
        recording, said = recorded(base, tmp_path / str(n))
        states = [entry.message for entry in recording.entries("state")]
        driven = [state for state in states if state.mode == "teleop"]
        if len(driven) > 50:
            break
    commands = [entry.message for entry in recording.entries("operator")]
    assert said - 30 <= len(commands) <= said  # the first may be missed, and nothing after them
    assert commands[-1].seq == said - 1
    assert recording.holes() == []
    assert len(driven) > 50
    assert {state.operator for state in driven} == {"ann"}
    stamps = {command.t_ns for command in commands}
    heard = [stamp for state in driven for stamp in state.heard.get("operator", [])]
    assert len(heard) > 20
    assert stamps.issuperset(heard)
    asked = [
        e.message.data["verb"]
        for e in recording.entries("event")
        if e.source == "executor" and e.message.kind == "request"
    ]
    assert asked[:2] == ["take_lease", "release_lease"]
    verdict = executor.replay(recording, settings_of(recording, []))
    assert verdict.compared > 300
    assert verdict.differences == []
    assert verdict.largest < 1e-9


def test_a_faster_executor_is_replayed_if_it_told_of_every_tick(base: Path, tmp_path: Path) -> None:
    fast = "executor.rate_hz=1000"
    recording, _ = recorded(base, tmp_path, fast, "record.every_tick=true")
    assert recording.holes() == []
    counts = recording.topics()
    assert counts["/tandem/beat/executor"] > 4 * counts["/tandem/state/executor"]
    verdict = executor.replay(recording, settings_of(recording, []))
    assert verdict.compared > 1000
    assert verdict.differences == []
    slow = without(recording.path, tmp_path / "cut", lambda topic, n: "/beat/" in topic)
    with pytest.raises(ConfigError, match=r"ran at 1000 Hz, .* record\.every_tick=true"):
        executor.replay(slow, settings_of(slow, []))


def test_what_stalls_made_of_a_motion_is_replayed(base: Path, tmp_path: Path) -> None:
    """While an operator drives, the executor is frozen so often and so shortly that the arm brakes
    by itself and is led on; then the supervisor for three seconds, and the executor holds by then.

    Of a machine that stalls by itself it may hold before: then once more.
    """
    for n in range(3):
        recording = stalled(base, tmp_path / str(n))
        states = [entry.message for entry in recording.entries("state")]
        led_on = sum(s.coasting and s.mode == "teleop" for s in states)
        if led_on > 5:
            break
    assert led_on > 5
    assert recording.holes() == []
    assert any(s.mode == "hold" and "silence" in s.heard for s in states)
    verdict = executor.replay(recording, settings_of(recording, []))
    assert verdict.compared > 300
    assert verdict.differences == []
    assert verdict.largest < 1e-9  # also where the arm came off its brake onto the next knot


def stalled(base: Path, out: Path) -> Recording:
    words = ["run", "fake", "--record-to", str(out)]
    with started(*words, base=base) as daemon, ending(daemon):
        await_hold(base)
        await_recorder(out)
        (pid,) = processes("tandem.runtime.app\0executor", str(base / "fake"))
        for after_s in np.arange(0.5, 1.6, 0.12):
            threading.Timer(after_s, freeze, [pid, 0.04]).start()
        threading.Timer(1.8, freeze, [daemon.pid, 2.6]).start()
        drive(base / "fake", 5.0)
    (folder,) = out.glob("fake-*")
    return Recording(folder)


def test_an_executor_that_was_killed_is_replayed_in_both_its_lives(
    base: Path, tmp_path: Path
) -> None:
    executor_of = ("tandem.runtime.app\0executor", str(base / "fake"))
    words = ["run", "fake", "--record-to", str(tmp_path)]
    with started(*words, base=base) as daemon, ending(daemon):
        await_hold(base)
        await_recorder(tmp_path)
        (first,) = processes(*executor_of)
        os.kill(first, signal.SIGKILL)
        await_hold(base)
        time.sleep(1.0)
    (folder,) = tmp_path.glob("fake-*")
    recording = Recording(folder)
    numbers = [entry.message.seq for entry in recording.entries("state")]
    assert sum(after < before for before, after in pairwise(numbers)) == 1
    verdict = executor.replay(recording, settings_of(recording, []))
    assert verdict.compared > len(numbers) - 100
    assert verdict.differences == []
