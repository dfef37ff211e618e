"""The simulated arm over real processes: connect, follow, die, freeze, take over, come back."""

import json
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tandem.drivers.sim import blackbox, wire
from tandem.drivers.sim.arm import SimArm
from tandem.drivers.sim.blackbox import extremes_of
from tandem.drivers.sim.camera import SimCamera, camera_spec
from tandem.drivers.sim.panda import panda_spec
from tandem.drivers.sim.plant_process import run_plant
from tandem.runtime.bus import ZmqBus, request
from tandem.runtime.clock import NS_PER_S, Grid, MonotonicClock
from tandem.runtime.errors import ConfigError, DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import Knot
from tandem.runtime.messages import Request

from tests.drivers.so101_rig import in_real_time

pytestmark = pytest.mark.process
SPEC = panda_spec()
RATE_HZ = 200
PATIENCE_NS = 4 * NS_PER_S  # a starved plant is silent for a while
START_NS = 60 * NS_PER_S
SPAWN = multiprocessing.get_context("spawn")


def plant_body(runtime_dir, stop):
    bus = ZmqBus(Path(runtime_dir), "sim")
    server = bus.server(wire.SERVER)
    run_plant(Path(runtime_dir), server, seed=1, priority=50, should_stop=stop.is_set)
    bus.close()


def executor_body(runtime_dir, seconds, ready):
    """Swings every joint at up to 0.6 rad/s, planning anew whenever the arm says so."""
    arm = SimArm(Path(runtime_dir))
    arm.connect()
    ready.set()
    with in_real_time():  # or a crowded machine ends every swing before it is fast
        swing(arm, seconds)


def swing(arm, seconds):
    grid = Grid(MonotonicClock(), RATE_HZ)
    state = arm.read(PATIENCE_NS)
    end_ns = time.monotonic_ns() + round(seconds * NS_PER_S)
    count, start_ns, q0 = -1, 0, state.q_d
    while time.monotonic_ns() < end_ns:
        beat = grid.wait()
        state = arm.read(PATIENCE_NS)
        if state.underruns != count and np.abs(state.dq_d).max() > 0:
            continue  # wait for rest, then begin again
        if state.underruns != count:
            count, start_ns, q0 = state.underruns, beat.due_ns, state.q_d
        t_ns = beat.due_ns + 4 * grid.period_ns
        arm.send(swing_knot(t_ns, start_ns, q0, count))


def swing_knot(t_ns, start_ns, q0, underruns):
    t, w, u = (t_ns - start_ns) * 1e-9, 2.5, min((t_ns - start_ns) * 1e-9, 1.0)
    e, de, dde = (
        u**3 * (10 - 15 * u + 6 * u * u),
        30 * (u - u * u) ** 2,
        60 * u * (1 - u) * (1 - 2 * u),
    )
    f, df, ddf = np.sin(w * t), w * np.cos(w * t), -w * w * np.sin(w * t)
    towards = 0.2 * np.sign((SPEC.q_min + SPEC.q_max) / 2 - q0)
    dq, ddq = towards * (de * f + e * df), towards * (dde * f + 2 * de * df + e * ddf)
    return Knot(t_ns, q0 + towards * e * f, dq, ddq, 1.0, underruns)


@pytest.fixture
def runtime_dir():
    with tempfile.TemporaryDirectory(prefix="tandem-test-", dir="/dev/shm") as path:
        yield Path(path)


@pytest.fixture
def plant(runtime_dir):
    stop = SPAWN.Event()
    process = SPAWN.Process(target=plant_body, args=(str(runtime_dir), stop), daemon=True)
    process.start()
    watch(runtime_dir)
    yield process
    os.kill(process.pid, signal.SIGCONT)
    stop.set()
    process.join(30)
    assert process.exitcode == 0


def start_executor(runtime_dir, seconds=120.0):
    ready = SPAWN.Event()
    process = SPAWN.Process(
        target=executor_body, args=(str(runtime_dir), seconds, ready), daemon=True
    )
    process.start()
    assert ready.wait(60)
    return process


def await_state(arm, wanted, seconds=30.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = arm.read(PATIENCE_NS)
        if wanted(state):
            return state
        time.sleep(0.002)
    raise AssertionError(f"not reached: {state}")


class Watcher(SimArm):
    """Reads the arm's state without commanding it."""

    def connect(self, timeout_ns=START_NS):
        self._state = wire.state_ring(self._dir).reader()
        self._await_plant(time.monotonic_ns() + timeout_ns)


def watch(runtime_dir):
    arm = Watcher(runtime_dir)
    arm.connect()
    return arm


def assert_driven_inside_the_limits(runtime_dir):
    record = blackbox.read(wire.black_box(runtime_dir))
    peaks = extremes_of(record)
    steps_ns, stood = np.diff(record.t_ns), (np.diff(record.q, axis=0) == 0).all(axis=1)
    # Every millisecond; but for what a plant that stood still for long skips of a still arm.
    assert ((steps_ns == 1_000_000) | (stood & (steps_ns > 0))).all()
    assert (peaks.velocity <= SPEC.dq_max).all()
    assert (peaks.acceleration <= SPEC.ddq_max).all()
    assert (peaks.jerk <= SPEC.jerk_max).all()
    return record, peaks


def ask(runtime_dir, **what):
    """Again, where a starved plant answers too late."""
    for _ in range(10):
        question = Request(verb="sim", text=json.dumps(what))
        reply = request(runtime_dir, wire.SERVER, question, PATIENCE_NS)
        if "ask again" not in reply.text:
            break
    return reply


def test_a_killed_executor_costs_a_smooth_stop_and_its_successor_goes_on(runtime_dir, plant):
    """
    1. an executor swings the arm at more than 0.5 rad/s
    2. it is killed with SIGKILL in full swing
    3. the arm brakes by itself; no joint is driven beyond a limit
    4. another executor connects and swings on
    """
    arm = watch(runtime_dir)
    first = start_executor(runtime_dir)
    count = await_state(arm, lambda s: not s.coasting and np.abs(s.dq_d).max() > 0.4).underruns
    first.kill()
    first.join(5)
    state = await_state(arm, lambda s: s.coasting and s.status == "idle")
    assert state.underruns > count
    np.testing.assert_array_equal(state.dq_d, 0.0)
    second = start_executor(runtime_dir)
    await_state(arm, lambda s: not s.coasting and np.abs(s.dq_d).max() > 0.3)
    second.kill()
    second.join(5)
    await_state(arm, lambda s: s.coasting and s.status == "idle")
    _, peaks = assert_driven_inside_the_limits(runtime_dir)
    assert peaks.velocity.max() > 0.4
    assert ask(runtime_dir, do="counters").data["refused_knots"] == 0


def test_a_frozen_executor_that_wakes_up_cannot_command(runtime_dir, plant):
    """
    1. an executor swings the arm and is frozen (SIGSTOP)
    2. the arm comes to rest; a second client connects and holds the arm where it is
    3. the first wakes up: nothing of what it sends is followed, and it ends with an error
    """
    arm = watch(runtime_dir)
    frozen = start_executor(runtime_dir)
    await_state(arm, lambda s: np.abs(s.dq_d).max() > 0.4)
    os.kill(frozen.pid, signal.SIGSTOP)
    await_state(arm, lambda s: s.coasting and s.status == "idle")
    second = SimArm(runtime_dir)
    second.connect()
    held = second.read(PATIENCE_NS)
    os.kill(frozen.pid, signal.SIGCONT)
    grid, zero = Grid(MonotonicClock(), RATE_HZ), np.zeros(7)
    for _ in range(100):
        beat = grid.wait()
        state = second.read(PATIENCE_NS)
        t_ns = beat.due_ns + 4 * grid.period_ns
        second.send(Knot(t_ns, held.q_d, zero, zero, 1.0, state.underruns))
    np.testing.assert_allclose(second.read(PATIENCE_NS).q_d, held.q_d, atol=1e-12)
    frozen.join(30)
    assert frozen.exitcode == 1, "the old executor was not told that it is fenced"
    assert_driven_inside_the_limits(runtime_dir)


def test_a_second_executor_is_refused_while_the_first_commands(runtime_dir, plant):
    refusal = ""
    for _ in range(5):  # one that is starved for 200 ms counts as gone, and is taken over
        first = start_executor(runtime_dir)
        await_state(watch(runtime_dir), lambda s: np.abs(s.dq_d).max() > 0.1)
        second = SimArm(runtime_dir)
        try:
            second.connect()
        except DeviceError as error:
            refusal = str(error)
            break
        first.join(30)
    assert f"process {first.pid}" in refusal
    first.kill()
    first.join(5)
    second.connect()
    with pytest.raises(DeviceError, match="connected already"):
        second.connect()


def test_a_frozen_plant_is_a_timeout_and_catches_up_without_a_jump(runtime_dir, plant):
    arm = SimArm(runtime_dir)
    arm.connect()
    arm.read(PATIENCE_NS)
    mover = threading.Thread(target=swing_on, args=(arm,))
    mover.start()
    await_state(watch(runtime_dir), lambda s: np.abs(s.dq_d).max() > 0.4)
    os.kill(plant.pid, signal.SIGSTOP)
    mover.join(30)
    with pytest.raises(DeviceTimeoutError, match="silent"):
        arm.read(50_000_000)
    time.sleep(0.5)
    os.kill(plant.pid, signal.SIGCONT)
    state = await_state(arm, lambda s: s.status == "idle")
    assert state.coasting
    assert_driven_inside_the_limits(runtime_dir)
    counters = ask(runtime_dir, do="counters").data
    assert counters["longest_stall_ns"] > 400_000_000


def swing_on(arm):
    """Swing until the plant falls silent."""
    with in_real_time(), pytest.raises(DeviceTimeoutError):
        swing(arm, 60.0)


def test_stop_comes_to_rest_and_may_be_said_twice(runtime_dir, plant):
    arm = SimArm(runtime_dir)
    arm.stop()  # not connected: nothing to stop, no error
    arm.connect()
    swing(arm, 1.0)
    arm.stop()
    arm.stop()
    state = await_state(arm, lambda s: s.coasting and s.status == "idle")
    np.testing.assert_array_equal(state.dq_d, 0.0)
    assert_driven_inside_the_limits(runtime_dir)


def read_at_once(camera, out):
    for _ in range(30):  # so often nobody is starved for a period
        camera.read(out, timeout_ns=1)


def test_cameras_show_the_scene_of_the_stamp(runtime_dir, plant):
    watch(runtime_dir)
    camera = SimCamera(runtime_dir, camera_spec("front", 96, 64, rate_hz=30.0))
    frame, other = np.empty((2, 64, 96, 3), np.uint8)
    stamps = [camera.read(frame, PATIENCE_NS) for _ in range(4)]
    assert (np.diff(stamps) > 0).all()
    assert stamps[-1] - stamps[0] > 50_000_000, "faster than 30 Hz"
    ages_ns = [-camera.read(frame, PATIENCE_NS) + time.monotonic_ns() for _ in range(4)]
    assert min(ages_ns) < NS_PER_S
    assert ask(runtime_dir, do="lay_out", cubes={}, light=0.5).ok
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        camera.read(other, PATIENCE_NS)
        if other.mean() < 0.8 * frame.mean():
            break
    assert other.mean() < 0.8 * frame.mean()
    with pytest.raises(DeviceTimeoutError, match="one period"):
        read_at_once(camera, other)
    camera.close()


def test_without_a_simulator_the_message_says_what_to_start(runtime_dir):
    with pytest.raises(DeviceTimeoutError, match="tandem run"):
        SimArm(runtime_dir).connect(timeout_ns=NS_PER_S // 5)
    with pytest.raises(DeviceError, match="connect"):
        SimArm(runtime_dir).read(0)
    with pytest.raises(DeviceTimeoutError, match="tandem run"):
        SimCamera(runtime_dir, camera_spec("side")).read(np.empty((128, 128, 3), np.uint8), 10**8)
    with pytest.raises(ConfigError, match="front"):
        camera_spec("rear")
