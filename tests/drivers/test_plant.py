"""Whatever becomes of the stream of knots, the arm is never driven beyond its own limits.

A sender as the law wants it (one plan ahead, planned anew from the arm's brake when the arm has run
out) loses, delays and skips knots at random; what the arm followed is differenced at 1 kHz.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.drivers.follow import Follower
from tandem.drivers.sim import blackbox
from tandem.drivers.sim.blackbox import BlackBox, extremes, extremes_of
from tandem.drivers.sim.panda import HOME_Q_RAD, panda_spec
from tandem.runtime.errors import WireError
from tandem.runtime.interfaces import Knot
from tandem.runtime.interpolate import Dynamics, Motion, Stopper
from tandem.runtime.interpolate import Follower as Planner

SPEC = panda_spec()
MS = 1_000_000
OWN = Dynamics(SPEC.dq_max, SPEC.ddq_max, SPEC.jerk_max)
COAST = OWN.scaled(1.0, SPEC.coast_acceleration, SPEC.coast_jerk)
COASTER = Stopper(COAST, together=False)


class Sender:
    """Plans like an executor: one knot per tick, and anew from the brake when told so."""

    def __init__(self, period_ns, lead_ns, share):
        self.period_ns, self.lead_ns = period_ns, lead_ns
        self.planner = Planner(OWN.scaled(*share))
        self.motion, self.t_ns, self.underruns = Motion.rest(HOME_Q_RAD), 0, 0

    def tick(self, t_ns, seen, speed):
        """`seen`: (t_ns, set-point, underruns) of the arm; `speed` [7] rad/s is where to go."""
        due_ns = t_ns + self.lead_ns
        seen_ns, point, underruns = seen
        if underruns != self.underruns or self.t_ns == 0:
            self.underruns = underruns
            brake = COASTER.stop(Motion.of(point.q, point.dq, point.ddq))
            self.motion = brake.at((due_ns - seen_ns) * 1e-9)
        else:
            self.motion = self.planner.drive(self.motion, speed, (due_ns - self.t_ns) * 1e-9)
        self.t_ns = due_ns
        q, dq, ddq = self.motion.rows
        return Knot(due_ns, q, dq, ddq, gripper=1.0, underruns=self.underruns)


def drive(rate_hz, seed, loss, worst_delay_ms, share, live_ms, rest_ms=1500):
    """Rows of what the arm followed: t_ns, q, dq, ddq, and the follower at the end."""
    rng = np.random.default_rng(seed)
    follower = Follower(SPEC, HOME_Q_RAD, 0)
    period_ns = round(1e9 / rate_hz)
    sender = Sender(period_ns, 2 * period_ns + MS, share)
    speed = np.zeros(7)
    tick_ns = int(rng.integers(1, period_ns))
    post: list[tuple[int, Knot]] = []
    rows, seen = [], (0, follower.now, 0)
    for t_ns in range(MS, (live_ms + rest_ms) * MS, MS):
        while tick_ns <= t_ns and t_ns < live_ms * MS:
            if rng.random() < 0.01:
                speed = rng.uniform(-1, 1, 7) * sender.planner.dynamics.dq
            away = (follower.now.q - HOME_Q_RAD) * speed > 0.3
            knot = sender.tick(tick_ns, seen, np.where(away, -speed, speed))
            if rng.random() >= loss:
                late = rng.random() < 0.1
                delay_ns = int(rng.uniform(0, worst_delay_ms if late else 0.5) * MS)
                post.append((tick_ns + delay_ns, knot))
            tick_ns += period_ns
        for item in [i for i in post if i[0] <= t_ns]:
            post.remove(item)
            follower.offer(item[1], item[0])
        point = follower.advance(t_ns)
        rows.append((t_ns, follower.coasting, point.q, point.dq, point.ddq))
        if rng.random() < 0.8:
            seen = (t_ns, point, follower.underruns)
    return rows, follower


def as_record(rows):
    t_ns, coasting, q, dq, ddq = (np.array(column) for column in zip(*rows, strict=True))
    return blackbox.Record(t_ns, np.zeros(len(t_ns), int), coasting, q, dq, ddq)


def assert_inside(record):
    peaks = extremes_of(record)
    assert (peaks.velocity <= SPEC.dq_max * (1 + 1e-6)).all()
    assert (peaks.acceleration <= SPEC.ddq_max * (1 + 1e-6)).all()
    assert (peaks.jerk <= SPEC.jerk_max * (1 + 1e-6)).all()


def assert_stops_without_reversing(record):
    np.testing.assert_array_equal(record.dq[-1], 0.0)
    following = np.flatnonzero(~record.coasting)
    last = record.between(record.t_ns[following[-1]] + 1, record.t_ns[-1])
    dq, ddq = last.dq[0], last.ddq[0]
    # A joint that decelerates harder than its speed needs runs through zero, as little as it must.
    must = np.where(dq * ddq < 0, np.maximum(ddq**2 / (2 * COAST.jerk) - np.abs(dq), 0.0), 0.0)
    back = -(last.dq * np.sign(dq)).min(axis=0)
    assert (back <= must + 1e-6).all()


@pytest.mark.parametrize("rate_hz", [200, 1000])
@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    loss=st.sampled_from([0.0, 0.002, 0.02, 0.2]),
    worst_delay_ms=st.sampled_from([0.5, 5.0, 30.0]),
    share=st.sampled_from([(0.3, 0.5, 0.1), (0.6, 0.5, 0.1), (0.9, 0.9, 0.3), (1, 1, 1)]),
    live_ms=st.integers(200, 1200),
)
def test_no_stream_drives_the_arm_beyond_its_limits(
    rate_hz, seed, loss, worst_delay_ms, share, live_ms
):
    rows, follower = drive(rate_hz, seed, loss, worst_delay_ms, share, live_ms)
    record = as_record(rows)
    assert_inside(record)
    assert_stops_without_reversing(record)
    assert follower.standing
    assert follower.starved > 0


def test_the_black_box_keeps_the_newest_rows_and_differences_within_an_era(tmp_path):
    path = tmp_path / "blackbox"
    box = BlackBox(path, MS, keep=100)
    dq = np.full(7, 0.5)
    for k in range(250):
        q = HOME_Q_RAD + k * 5e-4 + (1.0 if k >= 200 else 0.0)  # put elsewhere by hand at 200
        box.add(k * MS, int(k >= 200), False, q, dq, np.zeros(7))
    record = blackbox.read(path)
    assert list(record.t_ns[[0, -1]]) == [151 * MS, 249 * MS]
    peaks = extremes(path, 160 * MS, 240 * MS)
    np.testing.assert_allclose(peaks.velocity, 0.5, atol=1e-9)
    np.testing.assert_allclose(peaks.jerk, 0.0, atol=1e-3)
    assert peaks.rows == 81
    with pytest.raises(WireError, match="two minutes"):
        extremes(path, 0, 10 * MS)
    with pytest.raises(WireError, match="simulator"):
        blackbox.read(tmp_path / "nowhere")
