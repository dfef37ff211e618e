"""The arm's own brake and the segments between knots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruckig import ControlInterface, InputParameter, Ruckig, Synchronization, Trajectory
from tandem.drivers.brake import Brake
from tandem.drivers.follow import Follower, Segment, SetPoint, Verdict
from tandem.drivers.sim.panda import HOME_Q_RAD, panda_spec
from tandem.runtime.interfaces import Knot

SPEC = panda_spec()
MS = 1_000_000
unit = st.floats(-1.0, 1.0, allow_nan=False)
vector = st.lists(unit, min_size=7, max_size=7).map(np.array)


LIMITS = 0.8 * SPEC.ddq_max, 0.2 * SPEC.jerk_max


@settings(deadline=None, max_examples=100)
@given(vector, vector, st.floats(0.0, 1.1))
def test_the_brake_is_ruckigs_velocity_interface_unsynchronised(speed, push, share):
    dq, ddq = speed * SPEC.dq_max, push * SPEC.ddq_max
    wanted = InputParameter(7)
    wanted.control_interface = ControlInterface.Velocity
    wanted.synchronization = Synchronization.No
    wanted.current_position, wanted.current_velocity = list(HOME_Q_RAD), list(dq)
    wanted.current_acceleration = list(ddq)
    wanted.target_velocity = wanted.target_acceleration = [0.0] * 7
    wanted.max_acceleration, wanted.max_jerk = list(LIMITS[0]), list(LIMITS[1])
    theirs = Trajectory(7)
    Ruckig(7).calculate(wanted, theirs)
    mine = Brake(HOME_Q_RAD, dq, ddq, *LIMITS)
    assert mine.duration_s == pytest.approx(theirs.duration, abs=1e-9)
    t_s = share * theirs.duration
    for value, expected in zip(mine.at(t_s), theirs.at_time(t_s), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-8)


@settings(deadline=None, max_examples=60)
@given(vector, vector, st.floats(0.0, 1.0), st.floats(0.0, 0.5))
def test_braking_anew_stays_on_the_path_and_reverses_no_joint(speed, push, share, later_s):
    dq, ddq = speed * SPEC.dq_max, push * SPEC.ddq_max
    first = Brake(HOME_Q_RAD, dq, ddq, *LIMITS)
    t_s = share * first.duration_s
    now = first.at(t_s)
    again = Brake(*now, *LIMITS)
    for expected, got in zip(first.at(t_s + later_s), again.at(later_s), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-8)
    # A joint that decelerates harder than its speed needs runs through zero, as little as it must.
    must = np.where(dq * ddq < 0, np.maximum(ddq**2 / (2 * LIMITS[1]) - np.abs(dq), 0.0), 0.0)
    assert (now[1] * np.sign(dq) >= -must - 1e-9).all()
    np.testing.assert_array_equal(first.at(first.duration_s)[1], 0.0)


@settings(deadline=None, max_examples=100)
@given(*[vector] * 6, st.integers(1 * MS, 50 * MS))
def test_a_segment_is_exact_at_its_ends(q0, dq0, ddq0, q1, dq1, ddq1, h_ns):
    segment = Segment(7, SetPoint(q0, dq0, ddq0, 1.0), 7 + h_ns, SetPoint(q1, dq1, ddq1, 0.0))
    for t_ns, ends in ((7, (q0, dq0, ddq0)), (7 + h_ns, (q1, dq1, ddq1))):
        got = segment.at(t_ns)
        for value, expected, order in zip((got.q, got.dq, got.ddq), ends, (0, 1, 2), strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-13 / (h_ns * 1e-9) ** order)


def test_a_quintic_path_is_reproduced_exactly():
    rng = np.random.default_rng(0)
    c = rng.normal(size=(6, 7))

    def path(t_s):
        rows = [[t_s**k for k in range(6)], [k * t_s ** max(k - 1, 0) for k in range(6)]]
        rows.append([k * (k - 1) * t_s ** max(k - 2, 0) for k in range(6)])
        return SetPoint(*(np.array(rows) @ c), 1.0)

    segment = Segment(0, path(0.0), 5 * MS, path(0.005))
    for t_ns in range(0, 5 * MS + 1, MS // 2):
        expected = path(t_ns * 1e-9)
        np.testing.assert_allclose(segment.at(t_ns).q, expected.q, atol=1e-12)
        np.testing.assert_allclose(segment.at(t_ns).dq, expected.dq, atol=1e-10)
        np.testing.assert_allclose(segment.at(t_ns).ddq, expected.ddq, atol=1e-7)


def at_rest(follower, t_ns, **changes):
    knot = {
        "t_ns": t_ns,
        "q": HOME_Q_RAD,
        "dq": np.zeros(7),
        "ddq": np.zeros(7),
        "gripper": 1.0,
        "underruns": follower.underruns,
    }
    return follower.offer(Knot(**{**knot, **changes}), t_ns - 5 * MS)


def test_the_end_of_the_stream_is_counted_once_and_shuts_out_old_knots():
    follower = Follower(SPEC, HOME_Q_RAD, 0)
    assert at_rest(follower, 5 * MS) is Verdict.ACCEPTED
    follower.advance(5 * MS)
    assert (follower.underruns, follower.coasting) == (0, False)
    follower.advance(6 * MS)
    follower.advance(50 * MS)
    assert (follower.underruns, follower.starved, follower.coasting) == (1, 1, True)
    assert at_rest(follower, 60 * MS, underruns=0) is Verdict.LATE
    assert at_rest(follower, 60 * MS) is Verdict.ACCEPTED
    assert not follower.coasting


def test_what_cannot_be_followed_is_refused_and_counted():
    follower = Follower(SPEC, HOME_Q_RAD, 0)
    bad = HOME_Q_RAD.copy()
    bad[2] = np.nan
    assert at_rest(follower, 5 * MS, q=bad) is Verdict.REFUSED
    assert at_rest(follower, 5 * MS, q=HOME_Q_RAD + 0.01) is Verdict.REFUSED  # a step
    assert at_rest(follower, 5 * MS, q=HOME_Q_RAD[:6]) is Verdict.REFUSED
    assert (
        follower.offer(Knot(10**12, HOME_Q_RAD, np.zeros(7), np.zeros(7), 1.0), 0)
        is Verdict.REFUSED
    )
    assert at_rest(follower, 0) is Verdict.LATE
    assert (follower.refused, follower.late) == (4, 1)


def test_an_arm_put_elsewhere_takes_no_knots_for_the_old_place():
    follower = Follower(SPEC, HOME_Q_RAD, 0)
    at_rest(follower, 5 * MS)
    follower.restart(HOME_Q_RAD + 0.1, 5 * MS, 1.0)
    assert at_rest(follower, 10 * MS, underruns=0) is Verdict.LATE
    np.testing.assert_array_equal(follower.advance(10 * MS).q, HOME_Q_RAD + 0.1)
    assert follower.starved == 0
