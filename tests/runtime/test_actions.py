"""Action spaces: what each data set's numbers mean, and the laws that hold whatever they are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.runtime import actions, arm_file, config
from tandem.runtime.action_space import ActionSpace, space_of
from tandem.runtime.actions import SPACES, named
from tandem.runtime.errors import ConfigError, UnreachableError, WireError
from tandem.runtime.ik import InverseKinematics
from tandem.runtime.interfaces import ActionSpec, GripperSpec
from tandem.runtime.rotations import WIDTH, from_rotvec, inverse, pose, to_matrix, to_numbers

PANDA = arm_file.load(config.PACKAGED / "limits" / "panda.yaml")
SO101 = arm_file.load(config.PACKAGED / "limits" / "so101.yaml")
IK = InverseKinematics(PANDA.spec)
HOME, STEPS = PANDA.home_q, 6
patient = settings(deadline=None)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


def space(name: str | dict, arm: arm_file.ArmModel = PANDA) -> ActionSpace:
    return ActionSpace(named(name, arm.spec.joint_names), arm.spec)


def path(seed: int, arm: arm_file.ArmModel = PANDA) -> tuple[np.ndarray, np.ndarray]:
    """A set-point near home and a plan from there: joints [D], actions [STEPS, D + 1]."""
    rng = np.random.default_rng(seed)
    dof = len(arm.home_q)
    q = arm.home_q + rng.uniform(-0.2, 0.2, dof)
    joints = q + np.cumsum(rng.uniform(-0.02, 0.02, (STEPS, dof)), axis=0)
    return q, np.column_stack((joints, rng.integers(0, 2, STEPS)))


def poses(joints: np.ndarray) -> np.ndarray:
    return np.array([IK.pose(q) for q in joints])


# -- the table -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
@given(seed=seeds)
@settings(max_examples=8, deadline=None)
def test_what_is_said_in_a_space_is_done(name: str, seed: int):
    """Joint plans into the policy's numbers and back: the tool goes the same way."""
    q, plan = path(seed)
    policy = space(name)
    raw = policy.encode(plan, q)
    assert raw.shape == (STEPS, len(policy.spec.names))
    done = policy.decode(raw, q)
    assert done.short is None
    assert np.abs(poses(done.actions[:, :-1]) - poses(plan[:, :-1])).max() < 1e-6
    assert np.array_equal(done.actions[:, -1], plan[:, -1])
    if policy.spec.kind.startswith("joint"):
        assert np.abs(done.actions - plan).max() < 1e-12


@pytest.mark.parametrize(
    ("name", "says", "opening"),
    [
        ("openvla", 1.0, 1.0),
        ("openvla", 0.0, 0.0),
        ("openvla", 0.6, 1.0),  # binary
        ("droid_joint_velocity", 1.0, 0.0),
        ("droid_cartesian_velocity", 0.25, 0.75),
        ("libero", -1.0, 1.0),
        ("libero", 1.0, 0.0),
        ("libero", 0.1, 0.0),
        ("openvla_libero", 0.9, 1.0),
        ("umi", 0.08, 1.0),
        ("umi", 0.02, 0.25),
        ("lerobot_degrees", 50.0, 0.5),
        ("joint_position", 1.3, 1.0),  # clipped
        ("joint_position", -0.2, 0.0),
    ],
)
def test_grippers(name: str, says: float, opening: float):
    policy = space(name)
    raw = policy.encode(np.array([[*HOME, 1.0]]), HOME)
    raw[0, -1] = says
    assert policy.decode(raw, HOME).actions[0, -1] == pytest.approx(opening)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 1))
@patient
def test_a_grippers_numbers_go_there_and_back(open_at: float, closed_at: float, opening: float):
    if abs(open_at - closed_at) < 1e-3:
        return
    spec = replace(
        named("joint_position", PANDA.spec.joint_names), gripper=GripperSpec(open_at, closed_at)
    )
    policy, plan = ActionSpace(spec, PANDA.spec), np.array([[*HOME, opening]])
    assert policy.decode(policy.encode(plan, HOME), HOME).actions[0, -1] == pytest.approx(opening)


def test_droids_velocities_are_shares_of_a_fifth_of_a_radian():
    policy = space("droid_joint_velocity")
    raw = np.zeros((3, 8))
    raw[:, 0], raw[:, 1] = 0.5, -2.0  # the second is too fast: all are slowed alike
    moved = policy.decode(raw, HOME).actions[:, :2] - HOME[:2]
    assert moved == pytest.approx(np.outer((1, 2, 3), (0.25 * 0.2, -0.2)))


def test_openvla_moves_along_the_bases_axes():
    policy = space("openvla")
    raw = np.zeros((2, 7))
    raw[:, 2], raw[:, 5] = 0.01, 0.05  # up, and turning about the vertical
    before, after = IK.pose(HOME), IK.pose(policy.decode(raw, HOME).actions[-1, :-1])
    assert after[:3, 3] - before[:3, 3] == pytest.approx((0, 0, 0.02), abs=1e-8)
    turned = from_rotvec(np.array((0, 0, 0.1))) @ before[:3, :3]
    assert np.abs(after[:3, :3] - turned).max() < 1e-8


def test_liberos_unit_is_five_centimetres():
    raw = np.zeros((1, 7))
    raw[0, 0] = 1.0
    after = IK.pose(space("libero").decode(raw, HOME).actions[0, :-1])
    assert after[0, 3] - IK.pose(HOME)[0, 3] == pytest.approx(0.05, abs=1e-8)


def test_a_plan_of_joints_is_left_as_it_is():
    assert space_of(ActionSpec((*PANDA.spec.joint_names, "gripper")), PANDA.spec) is None
    assert space_of(named("joint_delta", PANDA.spec.joint_names), PANDA.spec) is not None


# -- laws ------------------------------------------------------------------------------------------


def small(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate((rng.uniform(-0.03, 0.03, 3), rng.uniform(-0.1, 0.1, 3)))


def row(step: np.ndarray) -> np.ndarray:
    """[7] of a pose [4, 4], with an open hand."""
    return np.concatenate((step[:3, 3], to_numbers(step[:3, :3], "rotvec"), (1.0,)))


@given(seeds)
@few
def test_a_step_and_its_inverse_lead_back_in_the_tools_frame(seed: int):
    x = small(seed)
    step = pose(x[:3], from_rotvec(x[3:]))
    raw = np.array((row(step), row(inverse(step))))
    back = space("tool_delta_in_tool").decode(raw, HOME).actions[-1, :-1]
    assert np.abs(IK.pose(back) - IK.pose(HOME)).max() < 1e-6


@given(seeds)
@few
def test_a_step_and_its_opposite_lead_back_in_the_bases_frame(seed: int):
    """There a way and a turn do not mix: the opposite is both with the other sign."""
    x = small(seed)
    raw = np.array((np.append(x, 1.0), np.append(-x, 1.0)))
    back = space("tool_delta").decode(raw, HOME).actions[-1, :-1]
    assert np.abs(IK.pose(back) - IK.pose(HOME)).max() < 1e-6


@given(seeds)
@few
def test_the_frames_agree_on_one_step(seed: int):
    """ΔT in the tool's frame is R·Δp, R·ΔR·Rᵀ in the base's."""
    x, turned = small(seed), IK.pose(HOME)[:3, :3]
    step = pose(x[:3], from_rotvec(x[3:]))
    same = pose(turned @ step[:3, 3], turned @ step[:3, :3] @ turned.T)
    one = space("tool_delta_in_tool").decode(np.array([row(step)]), HOME).actions[0, :-1]
    other = space("tool_delta").decode(np.array([row(same)]), HOME).actions[0, :-1]
    assert np.abs(IK.pose(one) - IK.pose(other)).max() < 1e-6


@given(seeds)
@few
def test_steps_add_up_to_the_way_since_the_state(seed: int):
    q, plan = path(seed)
    steps = space({"like": "tool_delta_in_tool", "since": "step"}).encode(plan, q)
    whole = space({"like": "tool_delta_in_tool", "since": "state"}).encode(plan, q)
    made = np.eye(4)
    for one, all_of_it in zip(steps, whole, strict=True):
        made = made @ pose(one[:3], from_rotvec(one[3:6]))
        assert np.abs(made - pose(all_of_it[:3], from_rotvec(all_of_it[3:6]))).max() < 1e-9


@given(seeds, st.sampled_from(sorted(WIDTH)))
@patient
def test_rotations_are_the_same_in_every_notation(seed: int, notation):
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    matrix = from_rotvec(axis / np.linalg.norm(axis) * rng.uniform(0, np.pi))
    numbers = to_numbers(matrix, notation)
    assert len(numbers) == WIDTH[notation]
    assert np.abs(to_matrix(numbers, notation) - matrix).max() < 1e-9


@pytest.mark.parametrize(
    "rpy", [(0.3, np.pi / 2, 0.2), (0.3, -np.pi / 2, 0.2), (np.pi, 0.0, np.pi)]
)
def test_angles_where_two_axes_are_one(rpy):
    matrix = to_matrix(np.array(rpy), "rpy")
    assert np.abs(to_matrix(to_numbers(matrix, "rpy"), "rpy") - matrix).max() < 1e-9


def test_the_policys_own_frames():
    """A base that is turned by half, and a tool 0.1 m further out: forward is backward there."""
    half = {"like": "tool_delta", "base": [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
    raw = np.array([[0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]])
    after = IK.pose(space(half).decode(raw, HOME).actions[0, :-1])
    assert after[0, 3] - IK.pose(HOME)[0, 3] == pytest.approx(-0.02, abs=1e-8)
    longer = {"like": "tool_delta", "tool": [0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 1.0]}
    raw = np.array([[0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 1.0]])
    reach = pose(np.array((0, 0, 0.1)), np.eye(3))
    after = IK.pose(space(longer).decode(raw, HOME).actions[0, :-1])
    assert np.abs((after @ reach - IK.pose(HOME) @ reach)[:3, 3]).max() < 1e-8


@given(seeds)
@few
def test_an_arm_of_five_joints_meets_the_position_and_turns_as_it_can(seed: int):
    rng, arm = np.random.default_rng(seed), InverseKinematics(SO101.spec)
    raw = np.zeros((4, 7))
    raw[:, :3], raw[:, -1] = rng.uniform(-0.01, 0.01, 3), 1.0
    done = space("tool_delta", SO101).decode(raw, SO101.home_q)
    assert done.short is None
    before = arm.pose(SO101.home_q)
    for i, q in enumerate(done.actions[:, :-1], 1):
        after = arm.pose(q)
        assert np.abs(after[:3, 3] - before[:3, 3] - i * raw[0, :3]).max() < 1e-6
        assert np.abs(after[:3, :3] - before[:3, :3]).max() < 0.3


# -- what cannot be --------------------------------------------------------------------------------


def test_a_plan_ends_where_reach_ends():
    raw = np.tile(np.array((0.1, 0, 0, 0, 0, 0, 1.0)), (12, 1))
    done = space("tool_delta").decode(raw, HOME)
    assert done.short is not None
    assert 1 <= len(done.actions) < 12
    assert f"step {len(done.actions) + 1} of 12" in done.short
    far = np.array([[2.0, 0, 0, 0, 0, 0, 1.0]])
    with pytest.raises(UnreachableError, match="Is the policy's frame"):
        space("tool_delta").decode(far, HOME)


def test_a_rotation_that_is_none():
    raw = np.zeros((1, 8))
    with pytest.raises(WireError, match="length 0"):
        space("tool_pose").decode(raw, HOME)


@pytest.mark.parametrize(
    ("given_space", "message"),
    [
        ("openvl", "did you mean openvla"),
        ({"like": "openvla", "fram": "tool"}, "did you mean frame"),
        ({"like": "openvla", "rotation": "euler"}, "rotation 'euler'"),
        ({"kind": "joint_torque"}, "kind 'joint_torque'"),
        ({"unit": [1.0, 2.0]}, "unit has 2 numbers"),
        ({"frame": "world"}, "frame is base or tool"),
        ({"gripper": {"open_at": 0.0}}, "are the same"),
        ({"gripper": {"opened": 0.0}}, "open_at, closed_at and binary"),
        ({"tool": [0.0, 0.0, 0.1]}, "7 numbers"),
    ],
)
def test_mistakes_are_answered_with_what_to_write(given_space, message: str):
    with pytest.raises(ConfigError, match=message):
        space(given_space)


def test_an_arm_without_kinematics_has_no_tool():
    blind = replace(PANDA.spec, mdh=np.zeros((0, 4)))
    with pytest.raises(ConfigError, match="no mdh rows"):
        ActionSpace(named("openvla", blind.joint_names), blind)
    with pytest.raises(ConfigError, match="9 names"):
        actions.checked(ActionSpec(tuple("abcdefghi")), blind.joint_names)
