"""The judge of stops must itself be right: it passes good stops and finds each kind of bad one."""

import numpy as np
import pytest
from tandem.drivers.brake import Brake
from tandem.drivers.sim.panda import HOME_Q_RAD, panda_spec
from tandem.runtime.errors import RefusedError
from tandem.runtime.interpolate import Dynamics
from tandem.tools.faults.sweep import SweepS1, offsets, parse
from tandem.tools.faults.verdict import Path, judge, rest_ns

_SPEC = panda_spec()
_BRAKING = Dynamics(_SPEC.dq_max, 0.5 * _SPEC.ddq_max, 0.1 * _SPEC.jerk_max)
_FAULT_NS = 4_000_000_000
_STEP_NS = 1_000_000


def _sweep_then_brake(detection_s: float, dynamics: Dynamics) -> Path:
    """Four seconds of sweep, `detection_s` more, the shortest stop, then half a second still."""
    brake_s = 4.0 + detection_s
    times = np.arange(0, brake_s, 1e-3)
    q = HOME_Q_RAD + offsets(times)
    h = 1e-5
    before, at, after = (HOME_Q_RAD + offsets(np.array([brake_s + x]))[0] for x in (-h, 0.0, h))
    velocity, acceleration = (after - before) / (2 * h), (after - 2 * at + before) / h**2
    brake = Brake(at, velocity, acceleration, dynamics.ddq, dynamics.jerk)
    rest = np.array([brake.at(s)[0] for s in np.arange(0, brake.duration_s + 0.5, 1e-3)])
    return Path(np.arange(len(q) + len(rest), dtype=np.int64) * _STEP_NS, np.vstack([q, rest]))


def _stop(path: Path, brake_ns: int = _FAULT_NS + 50_000_000):
    return judge(path, _SPEC, _BRAKING, _FAULT_NS, brake_ns)


def test_the_shortest_stop_is_a_good_one():
    stop = _stop(_sweep_then_brake(0.05, _BRAKING))
    assert stop.fastest_rad_s > 0.2
    assert stop.brake_s == pytest.approx(0.05)
    assert 0 < stop.braking_s <= stop.allowed_s < 0.3
    assert stop.reversed_rad_s == 0.0
    assert stop.extremes.inside


def test_a_lazy_stop_takes_longer_than_allowed():
    lazy = Dynamics(_SPEC.dq_max, 0.1 * _SPEC.ddq_max, 0.01 * _SPEC.jerk_max)
    stop = _stop(_sweep_then_brake(0.05, lazy))
    assert stop.braking_s > stop.allowed_s


def test_a_joint_that_turns_back_is_found():
    path = _sweep_then_brake(0.05, _BRAKING)
    rest = path.index(rest_ns(path, 0))
    moving = np.abs(path.q[rest - 60] - path.q[rest - 61]).argmax()
    back = np.sign(path.q[rest - 60] - path.q[rest - 61])[moving]
    wave = 1e-3 * (1 - np.cos(np.linspace(0, np.pi, 200)))
    q = path.q.copy()
    q[rest : rest + 200, moving] -= back * wave
    q[rest + 200 :, moving] -= back * wave[-1]
    assert _stop(Path(path.t_ns, q)).reversed_rad_s > 0.005


def test_a_step_is_outside_the_limits():
    path = _sweep_then_brake(0.05, _BRAKING)
    q = path.q.copy()
    q[path.index(_FAULT_NS) :, 2] += 1e-4
    assert _stop(Path(path.t_ns, q)).extremes.jerk_share > 10


def test_an_arm_that_still_moves_has_not_stopped():
    times = np.arange(0, 4.5, 1e-3)
    path = Path(np.arange(len(times)) * _STEP_NS, HOME_Q_RAD + offsets(times))
    with pytest.raises(ValueError, match="still moves"):
        _stop(path)


def test_the_sweep_is_fast_within_bounds_and_understands_its_orders():
    times = np.arange(0, 60, 1e-3)
    velocity = np.abs(np.diff(offsets(times), axis=0)) * 1e3
    assert (velocity[1000:].max(axis=1) > 0.2).mean() > 0.95
    assert velocity[1000:3000].max(axis=1).min() > 0.3
    assert (velocity.max(axis=0) < 0.35 * _SPEC.dq_max).all()
    assert velocity[0].max() < 1e-3
    assert SweepS1(_SPEC.joint_names).spec.action.names[-1] == "gripper"
    assert parse("sweep, nan after 1.5").after_s == 1.5
    with pytest.raises(RefusedError, match="say 'sweep'"):
        parse("sweep, dance after 2")
