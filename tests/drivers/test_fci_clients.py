"""The vendor's own libraries against the emulator, over loopback, in lockstep."""

import os
import re

import numpy as np
import pytest
from tandem.runtime import arm_file, config
from tandem.runtime.errors import RefusedError
from tandem.runtime.kinematics import Chain

from tests.drivers import vendor_clients
from tests.drivers.franka_rig import emulator
from tests.drivers.vendor_clients import (
    apart,
    grasp,
    smooth,
    turn_then_leap,
)

pylibfranka = pytest.importorskip("pylibfranka")
FR3 = arm_file.load(config.PACKAGED / "limits" / "fr3.yaml")


@pytest.fixture(autouse=True)
def _same_scheduling():
    """libfranka makes its caller SCHED_FIFO 99."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    os.sched_setscheduler(0, *before)


@pytest.fixture(scope="module")
def fr3():
    with emulator("fr3", "--lockstep") as rig:
        yield rig


@pytest.fixture(scope="module")
def fer():
    with emulator("fer", "--lockstep", "--object-m", "0.04") as rig:
        yield rig


def connect(rig):
    return pylibfranka.Robot(rig.host, pylibfranka.RealtimeConfig.kIgnore)


def read_on(control) -> None:
    for _ in range(5):
        control.readOnce()


def test_pylibfranka_moves_a_joint(fr3):
    robot = connect(fr3)
    before = fr3.report()
    control = robot.start_joint_position_control(pylibfranka.ControllerMode.JointImpedance)
    q0 = None
    for k in range(501):
        state, _ = control.readOnce()
        q0 = np.array(state.q_d) if q0 is None else q0
        target = pylibfranka.JointPositions((q0 + 0.1 * smooth(k, 500) * np.eye(7)[2]).tolist())
        target.motion_finished = k == 500
        control.writeOnce(target)
    after = fr3.report()
    assert np.array(after["q"]) - before["q"] == pytest.approx(0.1 * np.eye(7)[2], abs=1e-6)
    assert after["received"] - before["received"] == 501
    assert (after["lost"], after["violations"]) == (before["lost"], {})
    assert robot.read_once().robot_mode == pylibfranka.RobotMode.Idle


def test_pylibfranka_moves_by_velocities(fr3):
    robot = connect(fr3)
    control = robot.start_joint_velocity_control(pylibfranka.ControllerMode.JointImpedance)
    state, _ = control.readOnce()
    q0 = np.array(state.q_d)
    for k in range(401):
        speed = 0.2 * 16 * (k / 400) ** 2 * (1 - k / 400) ** 2
        target = pylibfranka.JointVelocities((speed * np.eye(7)[5]).tolist())
        target.motion_finished = k == 400
        control.writeOnce(target)
        if k < 400:
            control.readOnce()
    moved = np.array(robot.read_once().q_d) - q0
    assert moved == pytest.approx(0.2 * 16 / 30 * 0.4 * np.eye(7)[5], abs=1e-3)


def test_a_leap_is_named_and_must_be_recovered_from(fr3):
    robot = connect(fr3)
    control = robot.start_joint_position_control(pylibfranka.ControllerMode.JointImpedance)
    state, _ = control.readOnce()
    q = np.array(state.q_d)
    control.writeOnce(pylibfranka.JointPositions(q.tolist()))
    control.readOnce()
    control.writeOnce(pylibfranka.JointPositions((q + 0.05).tolist()))
    with pytest.raises(pylibfranka.ControlException, match="velocity_limits_violation"):
        read_on(control)
    del control  # while it lives, the library takes the motion for running
    assert robot.read_once().robot_mode == pylibfranka.RobotMode.Reflex
    with pytest.raises(pylibfranka.CommandException, match="Reflex"):
        robot.start_joint_position_control(pylibfranka.ControllerMode.JointImpedance)
    robot.automatic_error_recovery()
    state = robot.read_once()
    assert state.robot_mode == pylibfranka.RobotMode.Idle
    assert str(state.current_errors) == "[]"


def test_settings_are_taken_and_shown(fr3):
    robot = connect(fr3)
    robot.set_load(0.5, [0.0, 0.01, 0.02], [0.001, 0, 0, 0, 0.001, 0, 0, 0, 0.001])
    robot.set_collision_behavior([20.0] * 7, [20.0] * 7, [10.0] * 6, [10.0] * 6)
    assert robot.read_once().m_load == pytest.approx(0.5)


def test_the_model_that_is_loaded_is_our_kinematics(fr3):
    robot = connect(fr3)
    model, state = robot.load_model(), robot.read_once()
    theirs = np.array(model.zero_jacobian(state)).reshape(7, 6).T
    plate = np.eye(4)
    plate[2, 3] = 0.107  # from joint 7 to where tools are screwed on
    ours = Chain(FR3.spec.mdh, plate).update(np.array(state.q)).jacobian
    assert theirs == pytest.approx(ours, abs=1e-6)


def test_a_second_client_is_turned_away(fr3):
    robot = connect(fr3)
    with pytest.raises((pylibfranka.FrankaException, RuntimeError)):
        connect(fr3)
    assert robot.read_once().robot_mode == pylibfranka.RobotMode.Idle


def test_what_it_does_not_know_is_refused(fr3):
    with pytest.raises(RefusedError, match="silence"):
        fr3.fault("sulk")


def test_the_hand_moves_homes_and_grasps(fr3, fer):
    hand = pylibfranka.Gripper(fr3.host)
    assert hand.homing()
    assert hand.move(0.03, 0.5)
    assert hand.read_once().width == pytest.approx(0.03, abs=1e-4)
    assert not hand.grasp(0.02, 0.5, 10.0, 0.005, 0.005)  # there is nothing
    assert apart(grasp, fer.host) == (True, True)


def test_panda_py_reads_moves_and_recovers(fer):
    vendor_clients.needed()
    told = apart(turn_then_leap, fer.host)
    assert told["turned"] - told["start"] == pytest.approx(0.1 * np.eye(7)[1], abs=1e-6)
    assert re.search("joint_position_motion_generator_start_pose|velocity", told["leap"])
    assert told["reflex"]
    assert told["recovered"]


def test_the_wrong_client_is_told_the_right_version(fer):
    with pytest.raises(Exception, match="version"):
        connect(fer)
