"""Inverse kinematics against the vendor's own, and what it says when there is no way."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.runtime import arm_file, config
from tandem.runtime.errors import UnreachableError
from tandem.runtime.ik import InverseKinematics
from tandem.runtime.rotations import from_rotvec, pose

from tests.drivers.vendor_clients import apart, inverse, kinematics

PANDA = arm_file.load(config.PACKAGED / "limits" / "panda.yaml")
SPEC = PANDA.spec
SAMPLES = 1000
seeds = st.integers(0, 2**32 - 1)


def with_tool(length_m: float) -> InverseKinematics:
    """The vendor's fk ends 0.103 m after the flange; its ik (and Franka's hand) at 0.1034 m."""
    tool = SPEC.pose_tool_in_flange.copy()
    tool[2, 3] = length_m
    return InverseKinematics(replace(SPEC, pose_tool_in_flange=tool))


def joints(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(SPEC.q_min, SPEC.q_max)


def near(rng: np.random.Generator, q: np.ndarray) -> np.ndarray:
    return np.clip(q + rng.normal(0, 0.1, len(q)), SPEC.q_min, SPEC.q_max)


def test_forward_is_the_vendors():
    rng, ik = np.random.default_rng(1), with_tool(0.107 + 0.103)
    q = np.array([joints(rng) for _ in range(SAMPLES)])
    theirs = apart(kinematics, q)
    for row, their_pose in zip(q, theirs, strict=True):
        assert np.abs(ik.pose(row) - their_pose).max() < 1e-6


def test_the_vendors_forward_undoes_our_inverse():
    rng, ik = np.random.default_rng(2), with_tool(0.107 + 0.103)
    q = np.array([joints(rng) for _ in range(SAMPLES)])
    found, wanted = [], []
    for row, their_pose in zip(q, apart(kinematics, q), strict=True):
        with contextlib.suppress(UnreachableError):
            found.append(ik.solve(their_pose, near(rng, row)))
            wanted.append(their_pose)
    assert len(found) >= SAMPLES - SAMPLES // 200
    assert np.abs(apart(kinematics, np.array(found)) - np.array(wanted)).max() < 1e-6
    assert (np.array(found) >= SPEC.q_min).all()
    assert (np.array(found) <= SPEC.q_max).all()


def test_the_vendors_inverse_finds_the_same_joints():
    """Theirs is analytic: with the seventh joint given, one elbow has one solution.

    In one of ten cases it has none, another elbow, or (q2 near 0) one that is off by centimetres.
    """
    rng, ik, found = np.random.default_rng(3), with_tool(0.107 + 0.1034), []
    for _ in range(SAMPLES):
        q = joints(rng)
        with contextlib.suppress(UnreachableError):
            found.append(ik.solve(ik.pose(q), near(rng, q)))
    poses = np.array([ik.pose(q) for q in found])
    apart_rad = np.abs(apart(inverse, poses, np.array(found)) - np.array(found)).max(axis=1)
    assert (apart_rad < 1e-6).sum() > 0.8 * SAMPLES


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_a_small_way_of_the_tool_is_a_small_way_of_the_joints(seed):
    rng, ik = np.random.default_rng(seed), InverseKinematics(SPEC)
    q = PANDA.home_q + rng.uniform(-0.3, 0.3, 7)
    wanted = ik.pose(q) @ pose(
        rng.uniform(-0.01, 0.01, 3), from_rotvec(rng.uniform(-0.03, 0.03, 3))
    )
    found = ik.solve(wanted, q)
    assert np.abs(ik.pose(found) - wanted).max() < 1e-8
    assert np.abs(found - q).max() < 0.3


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_what_is_out_of_reach_is_refused_in_words(seed):
    rng, ik = np.random.default_rng(seed), InverseKinematics(SPEC)
    direction = rng.normal(size=3)
    far = pose(1.3 * direction / np.linalg.norm(direction) + (0, 0, 0.333), np.eye(3))
    with pytest.raises(UnreachableError, match=r"mm away.*bring the arm nearer to its home"):
        ik.solve(far, PANDA.home_q)


def test_a_joint_at_its_limit_is_named():
    """An arm whose elbow hardly bends does not get far, and says what holds it."""
    high = SPEC.q_max.copy()
    high[3] = PANDA.home_q[3] + 0.01
    ik = InverseKinematics(replace(SPEC, q_max=high))
    ahead = ik.pose(PANDA.home_q)
    ahead[0, 3] += 0.25
    with pytest.raises(UnreachableError, match="panda_joint4 at the limit"):
        ik.solve(ahead, PANDA.home_q)


def test_a_margin_is_kept():
    ik = InverseKinematics(SPEC, margin_rad=0.05)
    q = np.array(PANDA.home_q)
    q[0] = SPEC.q_max[0] - 0.01
    found = ik.solve(ik.pose(q), q)
    assert found[0] <= SPEC.q_max[0] - 0.05 + 1e-12
    assert np.abs(ik.pose(found) - ik.pose(q)).max() < 1e-8
