"""The plant in this process: lockstep arm and camera, requests, reflexes, stalls of the loop."""

import json

import numpy as np
import pytest
from tandem.drivers.sim import blackbox, wire
from tandem.drivers.sim.blackbox import BlackBox
from tandem.drivers.sim.camera import camera_spec
from tandem.drivers.sim.lockstep import LockstepArm, LockstepCamera, LockstepCell
from tandem.drivers.sim.panda import HOME_Q_RAD, panda_spec
from tandem.drivers.sim.plant import Plant
from tandem.drivers.sim.plant_process import PlantLoop
from tandem.drivers.sim.world import World
from tandem.runtime.clock import VirtualClock
from tandem.runtime.errors import DeviceError
from tandem.runtime.interfaces import Knot
from tandem.runtime.messages import Request

from tests.drivers.conftest import joints_at

MS = 1_000_000
PERIOD = 5 * MS
SPEC = panda_spec()


@pytest.fixture
def cell():
    made = LockstepCell(World(seed=3), VirtualClock())
    yield made
    made.plant.world.close()


def ask(cell, **what):
    return cell.answer(Request(verb="sim", text=json.dumps(what), valid=True))


def sway(t_ns, start_ns, q0, underruns):
    """A knot of a smooth swing of all joints that begins at rest."""
    t, w = (t_ns - start_ns) * 1e-9, 3.0
    s = np.sign(0.1 - q0) * 0.05
    # Begin with acceleration zero: 1 − cos, ramped by a quintic in the first second.
    u = min(t, 1.0)
    e, de, dde = (
        u**3 * (10 - 15 * u + 6 * u * u),
        30 * u * u * (1 - u) ** 2,
        60 * u * (1 - u) * (1 - 2 * u),
    )
    f, df, ddf = 1 - np.cos(w * t), w * np.sin(w * t), w * w * np.cos(w * t)
    q = q0 + s * e * f
    dq, ddq = s * (de * f + e * df), s * (dde * f + 2 * de * df + e * ddf)
    return Knot(t_ns, q, dq, ddq, gripper=1.0, underruns=underruns)


def test_the_arm_follows_knots_and_the_camera_sees_it_move(cell):
    arm = LockstepArm(cell)
    camera = LockstepCamera(cell, camera_spec("wrist"))
    arm.connect()
    with pytest.raises(DeviceError, match="connected already"):
        arm.connect()
    before, after = np.empty((2, 128, 128, 3), np.uint8)
    assert camera.read(before, 0) == cell.clock.now_ns()
    start_ns, q0 = cell.clock.now_ns(), arm.read(0).q_d
    for k in range(200):
        now_ns = start_ns + k * PERIOD
        cell.clock.sleep_until(now_ns)
        state = arm.read(0)
        assert state.t_ns == now_ns
        np.testing.assert_allclose(state.q, state.q_d, atol=2e-3)
        arm.send(sway(now_ns + PERIOD, start_ns, q0, 0))
    assert state.status == "moving"
    assert (state.underruns, state.coasting) == (0, False)
    np.testing.assert_allclose(state.q_d, sway(now_ns, start_ns, q0, 0).q, atol=1e-12)
    camera.read(after, 0)
    assert np.abs(after.astype(int) - before).mean() > 1


def test_the_end_of_the_stream_is_a_smooth_stop_and_a_new_one_joins_the_brake(cell):
    arm = LockstepArm(cell)
    arm.connect()
    start_ns, q0 = cell.clock.now_ns(), arm.read(0).q_d
    for k in range(200):
        cell.clock.sleep_until(start_ns + k * PERIOD)
        arm.read(0)
        arm.send(sway(cell.clock.now_ns() + PERIOD, start_ns, q0, 0))
    cell.clock.sleep_until(cell.clock.now_ns() + 8 * MS)
    state = arm.read(0)
    assert (state.underruns, state.coasting, state.status) == (1, True, "moving")
    cell.clock.sleep_until(cell.clock.now_ns() + 1000 * MS)
    state = arm.read(0)
    assert state.status == "idle"
    np.testing.assert_array_equal(state.dq_d, 0.0)
    standing = np.zeros(7)
    arm.send(Knot(cell.clock.now_ns() + PERIOD, state.q_d, standing, standing, 1.0, underruns=1))
    assert not arm.read(0).coasting


def test_stop_is_a_brake_of_its_own_and_idempotent(cell):
    arm = LockstepArm(cell)
    arm.connect()
    start_ns, q0 = cell.clock.now_ns(), arm.read(0).q_d
    for k in range(200):
        cell.clock.sleep_until(start_ns + k * PERIOD)
        arm.read(0)
        arm.send(sway(cell.clock.now_ns() + PERIOD, start_ns, q0, 0))
    arm.stop()
    arm.stop()
    state = arm.read(0)
    assert (state.underruns, state.coasting, state.status) == (1, True, "moving")
    cell.clock.sleep_until(cell.clock.now_ns() + 1000 * MS)
    arm.stop()
    state = arm.read(0)
    assert (state.underruns, state.coasting, state.status) == (1, True, "idle")
    assert ask(cell, do="counters").data["underruns"] == 0


def test_requests_change_the_scene_and_mistakes_are_explained(cell):
    reply = ask(cell, do="reset", seed=5, cubes=5)
    assert reply.ok
    assert len(reply.data["cubes"]) == 5
    truth = ask(cell, do="truth").data
    np.testing.assert_allclose(truth["q"], reply.data["q"], atol=1e-12)
    assert set(truth["cubes"]) == set(reply.data["cubes"])
    colour = next(iter(truth["cubes"]))
    assert ask(cell, do="disturb", kind="jump", colour=colour, to_m=[0.4, 0.1]).ok
    assert ask(cell, do="truth").data["cubes"][colour][:2] == pytest.approx([0.4, 0.1])
    assert ask(cell, do="lay_out", cubes={"red": [0.5, 0.0, 0.1]}).ok
    assert list(ask(cell, do="truth").data["cubes"]) == ["red"]
    assert ask(cell, do="teleport", q=list(HOME_Q_RAD)).ok
    assert ask(cell, do="counters").data["era"] == 3
    for bad, hint in (
        ({"do": "rest"}, "reset"),
        ({"do": "reset"}, "seed"),
        ({"do": "teleport", "q": [0.0] * 6}, "7"),
        ({"do": "disturb", "kind": "jump", "color": "red"}, "color"),
        ({"do": "disturb", "kind": "vanish", "colour": "blue"}, "red"),
        ({"do": "lay_out", "cubes": {"pink": [0, 0, 0]}}, "red"),
        ({"do": "interrupt", "status": "tired"}, "user_stop"),
    ):
        reply = ask(cell, **bad)
        assert not reply.ok
        assert hint in reply.text
    assert not cell.answer(Request(verb="sim", text="{", valid=True)).ok
    assert not cell.answer(Request(verb="go", text="", valid=True)).ok


def test_a_put_arm_takes_no_knots_for_the_old_place(cell):
    arm = LockstepArm(cell)
    arm.connect()
    old, zero = arm.read(0), np.zeros(7)
    ask(cell, do="teleport", q=list(HOME_Q_RAD))
    arm.send(Knot(cell.clock.now_ns() + PERIOD, old.q_d, zero, zero, 1.0, old.underruns))
    cell.clock.sleep_until(cell.clock.now_ns() + 20 * MS)
    state = arm.read(0)
    np.testing.assert_array_equal(state.q_d, HOME_Q_RAD)
    assert state.underruns == old.underruns + 1
    assert ask(cell, do="counters").data["underruns"] == 0


def test_a_blocked_arm_goes_into_reflex_and_recovers_where_it_is(cell):
    arm = LockstepArm(cell)
    arm.connect()
    zero = np.zeros(7)
    # Low over the table, then a slow push into it.
    q = joints_at(np.array([0.5, 0.3, 0.02]), HOME_Q_RAD)
    ask(cell, do="teleport", q=list(q), gripper=0.0)
    below = joints_at(np.array([0.5, 0.3, -0.3]), q)
    count = arm.read(0).underruns
    start_ns = cell.clock.now_ns()
    for k in range(1, 400):
        t_ns = start_ns + (k + 1) * PERIOD
        u = min((k + 1) / 400, 1.0)
        s = u**3 * (10 - 15 * u + 6 * u * u)
        ds, dds = 30 * u * u * (1 - u) ** 2 / 2, 60 * u * (1 - u) * (1 - 2 * u) / 4
        arm.send(Knot(t_ns, q + s * (below - q), ds * (below - q), dds * (below - q), 0.0, count))
        cell.clock.sleep_until(start_ns + k * PERIOD)
        if arm.read(0).status == "reflex":
            break
    state = arm.read(0)
    assert state.status == "reflex"
    assert "panda_joint" in state.error
    cell.clock.sleep_until(cell.clock.now_ns() + 1000 * MS)
    stuck = arm.read(0)
    np.testing.assert_array_equal(stuck.dq_d, 0.0)
    arm.send(Knot(cell.clock.now_ns() + PERIOD, stuck.q_d, zero, zero, 0.0, stuck.underruns))
    assert arm.read(0).coasting, "a knot was taken in reflex"
    assert ask(cell, do="recover").ok
    free = arm.read(0)
    np.testing.assert_allclose(free.q_d, free.q, atol=1e-9)
    cell.clock.sleep_until(cell.clock.now_ns() + 500 * MS)
    free = arm.read(0)
    assert (free.status, free.error) == ("idle", None)


def follow_with_stalls(tmp_path, stalls):
    """The black box after 2 s of a swing, with a loop that sleeps at the given times [ms]."""
    tmp_path.mkdir()
    clock = VirtualClock()
    start_ns = clock.now_ns()
    box = BlackBox(wire.black_box(tmp_path), MS)
    knots = wire.knot_ring(tmp_path).writer()
    loop = PlantLoop(tmp_path, Plant(World(seed=1), start_ns, box), None, clock)
    q0 = loop.plant.state().q_d
    for ms in range(2000):
        clock.sleep_until(start_ns + ms * MS)
        if ms % 5 == 0:
            knot = sway(clock.now_ns() + 2 * PERIOD, start_ns, q0, 0)
            wire.pack_knot(knots.slot(), knot)
            knots.commit(clock.now_ns())
        if not any(a <= ms < b for a, b in stalls):
            loop.tick()
    return blackbox.read(wire.black_box(tmp_path)), loop.report


def test_a_stall_of_the_plant_changes_nothing_of_what_was_followed(tmp_path):
    smooth, report = follow_with_stalls(tmp_path / "smooth", [])
    assert report.stalls == 0
    bumpy, report = follow_with_stalls(tmp_path / "bumpy", [(300, 340), (700, 1500)])
    assert report.stalls == 2
    assert report.longest_stall_ns > 790 * MS
    np.testing.assert_array_equal(bumpy.q, smooth.q)
    np.testing.assert_array_equal(np.diff(bumpy.t_ns), MS)
    assert not bumpy.coasting.any()


def test_hours_of_a_still_arm_are_skipped(tmp_path):
    clock = VirtualClock()
    loop = PlantLoop(tmp_path, Plant(World(seed=1), clock.now_ns()), None, clock)
    clock.sleep_until(clock.now_ns() + 3_600_000 * MS)
    loop.tick()
    assert loop.plant.t_ns == clock.now_ns()
    assert loop.report.steps < 3000
    assert loop.report.skipped_ns > 3_590_000 * MS
