"""What people are told of a Franka, and what a Franka is told by the configuration."""

import contextlib
import time
from functools import partial

import numpy as np
import pytest
from tandem.drivers.franka import options
from tandem.drivers.franka.arm import FrankaArm
from tandem.drivers.franka.fr3_targets import Fr3TargetLine
from tandem.drivers.franka.make import DRIVERS, franka_arm
from tandem.runtime.clock import NS_PER_S, MonotonicClock, VirtualClock
from tandem.runtime.errors import ConfigError, DeviceError
from tandem.runtime.setpoint import MotionSettings
from tandem.runtime.settings import ExecutorSettings

from tests.drivers import vendor_clients
from tests.drivers.franka_rig import KINDS, MODELS, Cell, emulator

pytest.importorskip("pylibfranka")
vendor_clients.needed()

COLLISION = {"torque_nm": [20, 20, 18, 18, 16, 14, 12], "force_n": 25}
LOAD = {"mass_kg": 0.5, "centre_m": [0, 0.01, 0.05], "inertia_kg_m2": [1e-3, 1e-3, 2e-3]}


# On the machine's clock, at a rate that needs no real time.
_SETTINGS = ExecutorSettings(
    MotionSettings(tool_speed_m_s=1.0),
    rate_hz=200.0,
    arm_late_ns=5 * NS_PER_S,
    tick_gap_ns=5 * NS_PER_S,
)
AT_EASE = {
    "line": Fr3TargetLine, "given": _SETTINGS, "clock": MonotonicClock(), "patience_s": 0.0
}  # fmt: skip


@pytest.fixture(scope="module", params=("fr3", "fer"))
def rig(request):
    with emulator(request.param, "--lockstep", "--seed", "3") as rig:
        yield rig


@pytest.fixture(scope="module")
def wall():
    with emulator("fr3") as rig:
        yield rig


@pytest.fixture
def cell_of():
    """Cells that are closed, whatever happens."""
    with contextlib.ExitStack() as stack:

        def make(rig, **how) -> Cell:
            rig.restart()
            cell = Cell(rig, **how)
            stack.callback(cell.arm.close)
            return cell

        yield make


def kinds(cell: Cell, level: str) -> list[str]:
    return [event.kind for event in cell.told if event.level == level]


def words(cell: Cell, kind: str) -> str:
    return next(event.text for event in cell.told if event.kind == kind)


def test_a_person_is_told_once_of_each_spell_and_stop_and_what_to_do(rig, cell_of):
    cell = cell_of(rig)
    cell.go()
    cell.move(0.2)
    rig.fault("lose", share=0.3, burst=5)
    cell.move(0.3)
    rig.fault("none")
    cell.move(0.3)
    assert kinds(cell, "warn").count("success_rate") == 1
    assert kinds(cell, "info").count("success_rate") == 1
    assert "tandem doctor" in words(cell, "success_rate")
    assert cell.arm.gauges["success_rate"] > 0.9
    assert cell.arm.counters["motions"] == 1

    rig.fault("lose", count=25)
    cell.until("fault")
    assert "20 set-points in a row" in words(cell, "communication")
    assert "20 set-points in a row" in cell.executor.fault
    cell.tick(100)
    assert kinds(cell, "error").count("communication") == 1
    cell.reset()

    rig.fault("reflex", error="cartesian_reflex")
    cell.until("fault")
    told = next(event for event in cell.told if event.kind == "reflex")
    assert told.data["errors"] == ["cartesian_reflex"]
    assert "clear the way" in told.text
    cell.tick(100)
    cell.reset()

    rig.fault("user_stop")
    cell.until("fault")
    assert "release it" in words(cell, "user_stop")
    rig.fault("release")
    cell.tick(100)
    assert cell.arm.counters["reflexes"] == 2
    assert cell.arm.counters["user_stops"] == 1


def told_arm(rig, **given) -> FrankaArm:
    line = partial(DRIVERS[KINDS[rig.kind]][0], settings=options.settings(**given))
    return FrankaArm(MODELS[rig.kind].spec, rig.host, line, clock=VirtualClock())


def test_the_robot_is_told_before_it_moves_and_again_when_it_is_found_again(rig):
    rig.restart()
    arm = told_arm(rig, collision=COLLISION, load=LOAD, stiffness_nm_rad=2000)
    arm.connect()
    told = rig.report()["settings"]
    assert told["SetLoad"] == [0.5, 0, 0.01, 0.05, 1e-3, 0, 0, 0, 1e-3, 0, 0, 0, 2e-3]
    assert told["SetJointImpedance"] == [2000] * 7
    torques, forces = told["SetCollisionBehavior"][7:14], told["SetCollisionBehavior"][34:40]
    assert torques == COLLISION["torque_nm"]
    assert forces == [25] * 6
    assert not rig.report()["motion"]
    arm.close()
    rig.restart()
    arm = told_arm(rig, load=LOAD)
    arm.connect()
    assert set(rig.report()["settings"]) == {"SetLoad"}
    arm.close()


def test_what_the_robot_refuses_is_said_with_its_key(rig):
    rig.restart()
    arm = told_arm(rig, load={"mass_kg": 30})
    with pytest.raises(DeviceError, match=r"robot\.arm\.options\.load.*configuration"):
        arm.connect()
    arm.close()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"load": {"mass": 1}}, r"options\.load.*mass"),
        ({"load": {"mass_kg": -1}}, r"options\.load\.mass_kg"),
        ({"load": {"mass_kg": 1, "inertia_kg_m2": [1, 2]}}, "9 numbers"),
        ({"collision": {"torque_nm": [1, 2]}}, r"options\.collision\.torque_nm.*7"),
        ({"collision": {"force_n": 0}}, "above 0"),
        ({"stiffness_nm_rad": 20_000}, "14250"),
        ({"stiffness_nm_rad": "soft"}, "stiffness_nm_rad"),
        ({"handler": "later"}, "beat"),
        ({"control": "joint_torque"}, "joint_velocity"),
        ({"control": "joint_velocity", "handler": "async"}, "positions only"),
        ({"success_rate_min": 90}, "share"),
    ],
)
def test_an_impossible_option_is_refused_before_anything_starts(given, says):
    with pytest.raises(ConfigError, match=says):
        franka_arm("franka_fr3", MODELS["fr3"].spec, "127.0.0.1", hand=False, **given)


def test_a_policy_moves_nothing_without_load_and_thresholds():
    arm = franka_arm("franka_fr3", MODELS["fr3"].spec, "127.0.0.1", hand=False)
    assert arm.spec.unset == ("robot.arm.options.collision", "robot.arm.options.load")
    given = {"collision": COLLISION, "load": LOAD}
    arm = franka_arm("franka_fr3", MODELS["fr3"].spec, "127.0.0.1", hand=False, **given)
    assert arm.spec.unset == ()


def moving(cell, wall) -> dict:
    """The robot's report once it has moved; again where a machine that stood still has ended it."""
    cell.go()
    for _ in range(20):  # a crowded machine has less of each second
        cell.move(0.5, every=20)
        report = wall.report()
        if cell.mode != "policy":
            cell.reset()
            cell.go()
        elif report["peaks"]["velocity"] > 0.05:
            return report
    raise AssertionError(f"it hardly moved: {report['peaks']}, {cell.mode}")


def until(condition, seconds=20.0):
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s, "not in time"
        time.sleep(0.05)


def test_the_robots_own_handler_follows_targets_and_rests_when_nobody_speaks(wall, cell_of):
    cell = cell_of(wall, **AT_EASE)
    report = moving(cell, wall)
    assert report["motion"]
    assert report["violations"] == {}
    behind = np.abs(np.array(report["q_d"]) - cell.state.q_cmd).max()
    assert behind < 0.15
    # The executor is silent: the robot comes to rest, at its last target.
    until(lambda: np.abs(wall.report()["dq_d"]).max() < 1e-9)
    report = wall.report()
    assert report["violations"] == {}
    assert report["mode"] == "move"
    cell.tick(5)
    until(lambda: cell.arm.stop() or not wall.report()["motion"])


@pytest.mark.parametrize(
    ("fault", "calm", "says"),
    [("user_stop", "release", "user stop"), ("close_tcp", None, "connection")],
)
def test_the_robots_own_handler_stops_for_good(wall, cell_of, fault, calm, says):
    cell = cell_of(wall, **AT_EASE)
    moving(cell, wall)
    wall.fault(fault)
    cell.until("fault")
    assert says in cell.executor.fault
    if calm:
        wall.fault(calm)
    received = wall.report()["received"]
    cell.tick(260)
    assert cell.mode == "fault"
    assert wall.report()["received"] == received
    cell.reset()
    cell.tick(100)
    assert wall.report()["received"] > received
