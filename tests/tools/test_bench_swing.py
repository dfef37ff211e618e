"""The swinging policy: chunks agree with each other and stay far inside the limits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime.interfaces import Observation
from tandem.runtime.messages import RobotState
from tandem.tools.bench import swing

JOINTS = [f"joint{i}" for i in range(7)]
HOME = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])


def _state(t_ns: int, q: np.ndarray) -> Observation:
    zero = np.zeros(7)
    state = RobotState(
        t_ns=t_ns, q=q, dq=zero, tau=zero, q_cmd=q, dq_cmd=zero, ddq_cmd=zero,
        gripper_cmd=1.0, width_m=0.08, mode="policy", epoch=1, valid=True,
    )  # fmt: skip
    return Observation(t_ns=t_ns, state=state)


@given(st.integers(0, 10**10), st.integers(1, 15))
def test_two_chunks_agree_where_they_overlap(t_ns, shift):
    policy = swing.make(JOINTS)
    policy.step(_state(10**9, HOME), None, np.zeros((0, 8)))
    first = policy.step(_state(10**9 + t_ns, HOME), None, np.zeros((0, 8)))
    later_ns = 10**9 + t_ns + shift * policy.spec.dt_ns
    second = policy.step(_state(later_ns, HOME + 0.01), None, np.zeros((0, 8)))
    assert np.allclose(first[shift:], second[:-shift])


@given(st.integers(0, 3 * 10**10))
def test_it_moves_slowly_about_where_it_began(t_ns):
    policy = swing.make(JOINTS)
    policy.step(_state(0, HOME), None, np.zeros((0, 8)))
    chunk = policy.step(_state(t_ns, HOME), None, np.zeros((0, 8)))
    joints = chunk[:, :7]
    assert np.max(np.abs(joints - HOME)) <= swing.AMPLITUDE_RAD + 1e-9
    speed = np.abs(np.diff(joints, axis=0)) / (policy.spec.dt_ns * 1e-9)
    assert speed.max() < 0.2


def test_it_starts_from_rest_where_the_robot_is():
    policy = swing.make(JOINTS)
    policy.reset("swing")
    chunk = policy.step(_state(5, HOME), None, np.zeros((0, 8)))
    assert np.max(np.abs(chunk[0, :7] - HOME)) < 0.001
    policy.reset("swing")
    again = policy.step(_state(10**10, HOME + 0.2), None, np.zeros((0, 8)))
    assert np.max(np.abs(again[0, :7] - HOME - 0.2)) < 0.001
