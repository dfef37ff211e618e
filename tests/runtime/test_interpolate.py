"""Laws of the path, the follower and the stop, over random motions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tandem.runtime import arm_file, config
from tandem.runtime.errors import LimitError
from tandem.runtime.interpolate import Dynamics, Follower, Motion, Spline, Stopper

MODEL = arm_file.load(config.PACKAGED / "limits" / "panda.yaml")
HOME, D = MODEL.home_q, len(MODEL.home_q)
OWN = Dynamics(MODEL.spec.dq_max, MODEL.spec.ddq_max, MODEL.spec.jerk_max)
MOVING, BRAKING = OWN.scaled(0.5, 0.5, 0.1), OWN.scaled(1.0, 0.8, 0.2)
DT_S = 0.005
share = arrays(float, D, elements=st.floats(-1, 1))
smaller = arrays(float, D, elements=st.floats(-0.2, 0.2))


@st.composite
def motions(draw: st.DrawFn) -> Motion:
    """Any motion inside the limits that does not run through the velocity limit."""
    dq = draw(share) * MOVING.dq * 0.95
    room = np.sqrt(2 * MOVING.jerk * (MOVING.dq - abs(dq)))
    ddq = draw(share) * np.minimum(MOVING.ddq, room) * 0.95
    return Motion.of(HOME + draw(smaller), dq, ddq)


chunks = arrays(float, st.tuples(st.integers(1, 20), st.just(D)), elements=st.floats(-2, 2))


@given(chunks, share, share, st.floats(0.01, 0.2))
@settings(max_examples=60, deadline=None)
def test_a_spline_passes_through_its_targets_and_is_c2(actions, start_q, start_dq, step_s):
    spline = Spline(3.0, start_q, start_dq, step_s, actions)
    assert np.allclose(spline.at(3.0).rows[:2], (start_q, start_dq))
    assert np.allclose(spline.positions(spline.knots_s), actions, atol=1e-9)
    tiny = 1e-9 * step_s
    for s in spline.knots_s[:-1]:
        before, after = spline.at(s - tiny), spline.at(s + tiny)
        assert np.allclose(before.q, after.q, atol=1e-6)
        assert np.allclose(before.dq, after.dq, atol=1e-6 / step_s)
        assert np.allclose(before.ddq, after.ddq, atol=1e-5 / step_s**2)


@given(chunks, share, st.floats(0.001, 0.999))
@settings(max_examples=60, deadline=None)
def test_derivatives_are_those_of_the_positions(actions, start_dq, where):
    spline = Spline(0.0, np.zeros(D), start_dq, 0.05, actions)
    h = 1e-6
    s = where * (spline.end_s - 2 * h) + h
    at, before, after = spline.at(s), spline.at(s - h), spline.at(s + h)
    assert np.allclose((after.q - before.q) / (2 * h), at.dq, atol=1e-4)
    assert np.allclose(spline.positions(np.array([s]))[0], at.q)


def test_beyond_its_ends_a_path_rests():
    spline = Spline(1.0, HOME, np.ones(D), 0.05, HOME + np.ones((4, D)))
    assert spline.at(0.5).is_rest()
    assert np.allclose(spline.at(0.5).q, HOME)
    assert spline.at(9.0).is_rest()
    assert np.allclose(spline.at(9.0).q, HOME + 1)


@given(motions(), motions())
@settings(max_examples=150, deadline=None)
def test_the_follower_stays_inside_every_limit_on_the_way(now, target):
    follower = Follower(MOVING)
    for _ in range(40):
        try:
            step = follower.track(now, target, DT_S)
        except LimitError:  # Ruckig fails on rare valid inputs; then a tick of braking is the way
            step = follower.drive(now, np.zeros(D), DT_S)
        assert (abs(step.dq) <= MOVING.dq + 1e-6).all()
        assert (abs(step.ddq) <= MOVING.ddq + 1e-6).all()
        assert (abs(step.ddq - now.ddq) <= MOVING.jerk * DT_S + 1e-6).all()
        now = step


@pytest.mark.parametrize("dt_s", [0.001, 0.005])
def test_a_path_inside_the_limits_is_followed_without_lag(dt_s):
    """Position alone would lag by 40 ms: 20 mrad at this speed."""
    follower = Follower(MOVING)
    t_s = np.arange(0, 2.05, 0.05)
    x = np.clip(t_s / 2, 0, 1)[:, None]
    actions = HOME + 0.5 * x**3 * (10 - 15 * x + 6 * x * x) * np.ones(D)
    path = Spline(0.0, HOME, np.zeros(D), 0.05, actions[1:])
    now, lag_rad = Motion.rest(HOME), 0.0
    for k in range(1, round(2 / dt_s)):
        now = follower.track(now, path.at(k * dt_s), dt_s)
        lag_rad = max(lag_rad, float(abs(now.q - path.at(k * dt_s).q).max()))
    assert lag_rad < 1e-6


def test_a_jump_of_the_path_is_caught_up_with_smoothly():
    follower, now = Follower(MOVING), Motion.rest(HOME)
    target = Motion.rest(HOME + 0.05)
    for _ in range(200):
        now = follower.track(now, target, DT_S)
    assert np.allclose(now.q, target.q, atol=1e-6)
    assert now.is_rest(1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e12])
def test_the_follower_refuses_what_has_no_answer(bad):
    follower, now = Follower(MOVING), Motion.rest(HOME)
    with pytest.raises(LimitError):
        follower.track(now, Motion.rest(np.full(D, bad)), DT_S)
    assert follower.track(now, now, DT_S).is_rest(), "and works on afterwards"


def test_targets_on_or_over_the_limits_are_understood_as_the_limits():
    follower, now = Follower(MOVING), Motion.rest(HOME)
    fast = Motion.of(HOME + 0.1, 3 * MOVING.dq, 3 * MOVING.ddq)
    assert (abs(follower.track(now, fast, DT_S).ddq) <= MOVING.ddq + 1e-6).all()


@given(motions(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_stop_ends_in_time_and_reverses_no_joint(start, together):
    braking = Stopper(BRAKING, together).stop(start)
    bound_s = MOVING.stop_s(start.dq) + 2 * DT_S
    assert braking.duration_s <= bound_s
    assert braking.at(braking.duration_s).is_rest(1e-9)
    helped = start.ddq**2 / (2 * BRAKING.jerk) <= abs(start.dq)
    backwards = [
        -braking.at(t).dq * np.sign(start.dq) for t in np.linspace(0, braking.duration_s, 30)
    ]
    worst = np.max(backwards, axis=0)
    assert (worst[helped] <= 1e-9).all()
    assert (worst <= start.ddq**2 / (2 * BRAKING.jerk) + 1e-9).all()


@given(motions())
@settings(max_examples=50, deadline=None)
def test_a_stop_continued_from_any_of_its_samples_is_the_same_stop(start):
    stopper = Stopper(MOVING, together=False)
    braking = stopper.stop(start)
    t_s = braking.duration_s / 3
    again = stopper.stop(braking.at(t_s))
    assert np.allclose(again.end_q, braking.end_q, atol=1e-6)


def test_rest_is_rest():
    assert Motion.rest(HOME).is_rest()
    assert not Motion.of(HOME, np.full(D, 1e-3), np.zeros(D)).is_rest()
    assert np.allclose(Motion.of(HOME, np.ones(D), np.ones(D)).ahead(0.1).q, HOME + 0.105)
