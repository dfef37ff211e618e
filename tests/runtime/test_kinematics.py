"""The chain against numbers of the vendor, and its derivatives against differences."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tandem.runtime import arm_file, config
from tandem.runtime.kinematics import Chain

MODEL = arm_file.load(config.PACKAGED / "limits" / "panda.yaml")
HOME, D = MODEL.home_q, len(MODEL.home_q)
joints = arrays(float, D, elements=st.floats(-2.5, 2.5))


def chain() -> Chain:
    return Chain(MODEL.spec.mdh, MODEL.spec.pose_tool_in_flange)


def test_home_of_the_panda():
    """Tool straight down, 0.307 m ahead and 0.487 m up: what a Panda shows on its own display."""
    pose = chain().update(HOME).pose
    assert np.allclose(pose[:3, 3], (0.3069, 0.0, 0.4869), atol=1e-4)
    assert np.allclose(pose[:3, :3], np.diag((1.0, -1.0, -1.0)), atol=1e-6)


@given(joints)
@settings(max_examples=60, deadline=None)
def test_the_pose_is_rigid(q):
    pose = chain().update(q).pose
    assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
    assert np.allclose(pose[3], (0, 0, 0, 1))


@given(joints)
@settings(max_examples=60, deadline=None)
def test_the_jacobian_is_the_derivative_of_the_pose(q):
    arm, h = chain(), 1e-6
    jacobian = arm.update(q).jacobian.copy()
    rotation = arm.pose[:3, :3].copy()
    for j in range(D):
        step = np.eye(D)[j] * h
        ahead, behind = arm.update(q + step).pose.copy(), arm.update(q - step).pose.copy()
        linear = (ahead[:3, 3] - behind[:3, 3]) / (2 * h)
        spin = (ahead[:3, :3] - behind[:3, :3]) / (2 * h) @ rotation.T
        angular = np.array((spin[2, 1], spin[0, 2], spin[1, 0]))
        assert np.allclose(jacobian[:, j], np.concatenate((linear, angular)), atol=1e-6)


@given(arrays(float, 6, elements=st.floats(-0.2, 0.2)))
@settings(max_examples=60, deadline=None)
def test_joint_velocity_gives_the_wanted_twist_away_from_singularities(twist):
    arm = chain().update(HOME)
    assert np.allclose(arm.jacobian @ arm.joint_velocity(twist), twist, atol=2e-3)


def test_at_a_singularity_the_joints_stay_slow():
    stretched = np.zeros(D)
    twist = np.array((0.1, 0, 0, 0, 0, 0))
    assert abs(chain().update(stretched).joint_velocity(twist)).max() < 5.0


def test_a_twist_in_tool_axes_is_turned_into_the_base():
    arm = chain().update(HOME)
    down = arm.in_base(np.array((0, 0, 0.1, 0, 0, 0.2)), "tool")
    assert np.allclose(down, (0, 0, -0.1, 0, 0, -0.2), atol=1e-9)
    assert np.array_equal(arm.in_base(np.arange(6.0), "base"), np.arange(6.0))


def test_position_alone_agrees_and_leaves_the_jacobian():
    arm = chain().update(HOME)
    before = arm.jacobian.copy()
    elsewhere = HOME + 0.3
    position = arm.position(elsewhere)
    assert np.array_equal(arm.jacobian, before)
    assert np.allclose(position, chain().update(elsewhere).pose[:3, 3])


@given(joints, joints)
@settings(max_examples=60, deadline=None)
def test_a_moving_tool_is_where_the_pose_is_and_as_fast_as_the_jacobian_says(q, dq):
    arm = chain().update(q)
    position, velocity = arm.moving(q, dq)
    assert np.allclose(position, arm.pose[:3, 3], atol=1e-12)
    assert np.allclose(velocity, arm.jacobian[:3] @ dq, atol=1e-12)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[D, 4\]"):
        Chain(np.zeros((7, 3)), np.eye(4))


def test_an_update_fits_into_a_tick():
    """Generous, because machines are shared: a quarter of a 1 kHz tick, of CPU time."""
    arm = chain()
    costs_us = []
    for _ in range(300):
        start_ns = time.thread_time_ns()
        arm.update(HOME)
        costs_us.append((time.thread_time_ns() - start_ns) / 1e3)
    assert np.median(costs_us) < 250
