"""Each limit alone, and the gate: what it lets pass, and what it puts in the place of the rest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tandem.runtime import arm_file, config
from tandem.runtime.interpolate import Dynamics, Follower, Motion
from tandem.runtime.kinematics import Chain
from tandem.runtime.limits import Gate, RangeLimit, SpeedLimit, ToolLimit, fold

MODEL = arm_file.load(config.PACKAGED / "limits" / "panda.yaml")
SPEC, HOME, D = MODEL.spec, MODEL.home_q, len(MODEL.home_q)
OWN = Dynamics(SPEC.dq_max, SPEC.ddq_max, SPEC.jerk_max)
MOVING, BRAKING = OWN.scaled(0.5, 0.5, 0.1), OWN.scaled(1.0, 0.8, 0.2)
DT_S, DT_NS = 0.005, 5_000_000
share = arrays(float, D, elements=st.floats(-1, 1))


def chain() -> Chain:
    return Chain(SPEC.mdh, SPEC.pose_tool_in_flange)


# -- speed -----------------------------------------------------------------------------------------


@given(arrays(float, D, elements=st.floats(-50, 50)))
def test_speed_is_scaled_for_all_joints_alike(dq):
    allowed = SpeedLimit(MOVING)(dq, Motion.rest(HOME))
    assert (abs(allowed.dq) <= MOVING.dq * (1 + 1e-5)).all()
    assert np.allclose(np.cross(allowed.dq[:3], dq[:3]), 0, atol=1e-6), "same direction"
    assert (allowed.why is None) == bool((abs(dq) <= MOVING.dq * (1 + 1e-5)).all())


# -- joint range -----------------------------------------------------------------------------------


@given(share)
@settings(max_examples=6, deadline=None)
def test_a_joint_driven_at_its_bound_stops_before_it(direction):
    """Full speed towards wherever: it ends there, within half a milliradian."""
    limit, follower = RangeLimit(SPEC.q_min, SPEC.q_max, MOVING, DT_S), Follower(MOVING)
    dq, now = direction * MOVING.dq, Motion.rest(HOME)
    for _ in range(900):
        now = follower.drive(now, limit(dq, now).dq, DT_S)
        assert (now.q >= SPEC.q_min - 5e-4).all()
        assert (now.q <= SPEC.q_max + 5e-4).all()
    pushed = abs(dq) > 0.9
    room = np.where(dq > 0, SPEC.q_max - now.q, now.q - SPEC.q_min)
    assert (room[pushed] < 0.02).all(), "and yet it gets there"


def test_outside_the_range_a_joint_may_only_come_back_and_slowly():
    limit = RangeLimit(SPEC.q_min, SPEC.q_max, MOVING, DT_S)
    outside = Motion.rest(np.where(np.arange(D) == 3, SPEC.q_max + 0.05, HOME))
    outward, inward = np.zeros(D), np.zeros(D)
    outward[3], inward[3] = 0.5, -0.5
    assert limit(outward, outside) == (pytest.approx(np.zeros(D)), "joint range")
    assert limit(inward, outside).dq[3] == pytest.approx(-0.05 * MOVING.dq[3])


def test_a_target_beyond_the_range_becomes_rest_on_its_bound():
    limit = RangeLimit(SPEC.q_min, SPEC.q_max, MOVING, DT_S)
    target = Motion.of(HOME + 9 * (np.arange(D) == 1), np.ones(D), np.ones(D))
    clipped = limit.clip(target)
    assert clipped.q[1] == SPEC.q_max[1]
    assert clipped.dq[1] == clipped.ddq[1] == 0
    assert clipped.dq[0] == 1
    assert limit.clip(Motion.rest(HOME)).q is not None


# -- tool ------------------------------------------------------------------------------------------


@given(share)
@settings(max_examples=40, deadline=None)
def test_the_tool_never_heads_for_more_than_its_speed(direction):
    limit = ToolLimit(chain(), 0.25, MOVING, DT_S)
    allowed = limit(direction * MOVING.dq, Motion.rest(HOME))
    assert np.linalg.norm(chain().update(HOME).jacobian[:3] @ allowed.dq) <= 0.25 * (1 + 1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_tool_stops_at_every_face_of_its_box_and_slides_along(axis, sign):
    home_m = chain().update(HOME).pose[:3, 3].copy()
    limit = ToolLimit(chain(), 0.25, MOVING, DT_S, home_m - 0.08, home_m + 0.08)
    follower, now = Follower(MOVING), Motion.rest(HOME)
    push, along = np.zeros(6), (axis + 1) % 3
    push[axis], push[along] = sign * 0.2, 0.01
    for _ in range(400):
        limit.chain.update(now.q)
        twist = limit.slide(push, limit.chain.joint_velocity(push))
        wanted = fold([limit], limit.chain.joint_velocity(twist), now)
        now = follower.drive(now, wanted.dq, DT_S)
        assert limit.outside_at(now.q) < 1e-4
    moved = limit.chain.position(now.q) - home_m
    assert sign * moved[axis] > 0.06, "it gets to the face"
    assert moved[along] > 0.012, "and goes on along it"


# -- gate ------------------------------------------------------------------------------------------


def gate(tool: ToolLimit | None = None, start: Motion | None = None) -> Gate:
    made = Gate(SPEC, BRAKING, tool)
    made.trust(start or Motion.rest(HOME), 0)
    return made


def moving(speed: float = 0.5) -> Motion:
    return Motion.of(HOME, speed * MOVING.dq, np.zeros(D))


@given(share, st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_what_the_follower_makes_passes(direction, ticks):
    guard, follower, now = gate(), Follower(MOVING), Motion.rest(HOME)
    for k in range(1, ticks + 1):
        step = follower.drive(now, direction * MOVING.dq * 0.5, DT_S)
        now, why = guard.admit(now, step, DT_S, k * DT_NS)
        assert why is None
        assert now is step


def _nan(m: Motion) -> Motion:
    return Motion.of(np.where(np.arange(D) == 2, np.nan, m.q), m.dq, m.ddq)


def _leap(m: Motion) -> Motion:
    return Motion.of(m.q + 0.01, m.dq, m.ddq)


def _kick(m: Motion) -> Motion:
    return Motion.of(m.q, m.dq + 0.2, m.ddq)


def _shove(m: Motion) -> Motion:
    return Motion.of(m.q, m.dq, m.ddq + 0.99 * SPEC.ddq_max)


def _race(m: Motion) -> Motion:
    return Motion.of(m.q, 3 * SPEC.dq_max, m.ddq)


@pytest.mark.parametrize("spoil", [_nan, _leap, _kick, _race])
def test_a_bad_command_is_replaced_by_the_verified_braking(spoil):
    start = moving()
    guard = gate(start=start)
    good = start.ahead(DT_S)
    last, why = guard.admit(start, good, DT_S, DT_NS)
    assert why is None
    t_ns = DT_NS
    for _ in range(60):
        t_ns += DT_NS
        step, why = guard.admit(last, spoil(last.ahead(DT_S)), DT_S, t_ns)
        assert why
        assert (abs(step.rows - last.ahead(DT_S).rows)[2] <= BRAKING.jerk * DT_S + 1e-6).all()
        last = step
    assert last.is_rest(), "braking to the end, sample by sample"


def test_a_command_from_which_no_stop_ends_inside_is_not_given():
    near = HOME.copy()
    near[3] = SPEC.q_max[3] - 0.005
    start = Motion.of(near, 0.3 * (np.arange(D) == 3), np.zeros(D))
    guard = gate(start=Motion.rest(near))
    step, why = guard.admit(start, start.ahead(DT_S), DT_S, DT_NS)
    assert why == "the arm could not stop inside its joint range"
    assert step.is_rest()


def test_a_stop_outside_the_workspace_is_not_started():
    floor_m = chain().position(HOME)[2] - 0.002
    tool = ToolLimit(chain(), 0.25, MOVING, DT_S, low_m=np.array((-9, -9, floor_m)))
    down = tool.chain.update(HOME).joint_velocity(np.array((0, 0, -0.2, 0, 0, 0)))
    start = Motion.of(HOME, down, np.zeros(D))
    step, why = gate(tool).admit(start, start.ahead(DT_S), DT_S, DT_NS)
    assert why == "the tool could not stop inside its workspace"
    assert step.is_rest()


def test_a_tool_far_above_its_speed_is_stopped():
    tool = ToolLimit(chain(), 0.25, MOVING, DT_S)
    fast = tool.chain.update(HOME).joint_velocity(np.array((0.0, 0.4, 0, 0, 0, 0)))
    start = Motion.of(HOME, fast, np.zeros(D))
    assert (
        gate(tool, start).admit(start, start.ahead(DT_S), DT_S, DT_NS)[1] == "the tool is too fast"
    )


def test_outside_its_limits_an_arm_may_still_come_back():
    outside = np.where(np.arange(D) == 3, SPEC.q_max + 0.05, HOME)
    guard, follower, now = gate(start=Motion.rest(outside)), Follower(MOVING), Motion.rest(outside)
    inward = -0.05 * (np.arange(D) == 3)
    for k in range(1, 50):
        now, why = guard.admit(now, follower.drive(now, inward, DT_S), DT_S, k * DT_NS)
        assert why is None
    assert now.q[3] < outside[3] - 0.005
