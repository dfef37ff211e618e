"""Finite differences of set-points find what their own derivatives would not tell."""

import numpy as np
import pytest
from tandem.drivers.sim.blackbox import Record
from tandem.runtime.interfaces import ArmSpec
from tandem.tools.evaluate.plant import differences, extremes, merged, recorded

_ONES = np.ones(2)
_SPEC = ArmSpec(
    "two",
    ("a", "b"),
    -3 * _ONES,
    3 * _ONES,
    2 * _ONES,
    10 * _ONES,
    5000 * _ONES,
    1000.0,
    "executor",
)


def _sine(amplitude_rad: float, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    t_ns = np.arange(2000, dtype=np.int64) * 1_000_000 + 10**15
    wave = amplitude_rad * np.sin(2 * np.pi * rate_hz * np.arange(2000) * 1e-3)
    return t_ns, np.stack([wave, 0.5 * wave], axis=1)


def test_a_sine_has_the_extremes_of_a_sine():
    found = extremes(*_sine(0.2, 1.0), _SPEC)
    omega = 2 * np.pi
    assert found.velocity == pytest.approx([0.2 * omega, 0.1 * omega], rel=1e-3)
    assert found.acceleration_share == pytest.approx(0.2 * omega**2 / 10, rel=1e-3)
    assert found.jerk[0] == pytest.approx(0.2 * omega**3, rel=1e-2)
    assert found.margin_rad == pytest.approx(2.8, abs=1e-6)
    assert found.inside


def test_one_small_step_in_position_is_outside():
    t_ns, q_rad = _sine(0.2, 1.0)
    q_rad[1000:, 0] += 1e-4
    found = extremes(t_ns, q_rad, _SPEC)
    assert found.acceleration_share > 1
    assert not found.inside
    assert not merged([extremes(*_sine(0.2, 1.0), _SPEC), found]).inside


def test_a_missing_sample_is_not_taken_for_a_jump():
    t_ns, q_rad = _sine(0.2, 1.0)
    keep = np.arange(len(t_ns)) != 500
    with pytest.raises(ValueError, match=r"uneven after samples \[np.int64\(499\)\]|uneven"):
        differences(t_ns[keep], q_rad[keep])


def _record(t_ns: np.ndarray, q_rad: np.ndarray, era: np.ndarray) -> Record:
    return Record(t_ns, era, np.zeros(len(t_ns), bool), q_rad, q_rad, q_rad)


def test_an_arm_put_elsewhere_by_hand_has_not_jumped():
    t_ns, q_rad = _sine(0.2, 1.0)
    q_rad[1000:] += 1.0
    era = np.repeat([0, 1], 1000)
    assert recorded(_record(t_ns, q_rad, era), _SPEC).inside
    assert not recorded(_record(t_ns, q_rad, 0 * era), _SPEC).inside


def test_time_may_be_skipped_at_rest_and_only_there():
    t_ns, q_rad = _sine(0.2, 1.0)
    t_ns[1000:] += 10**9
    still = np.zeros_like(q_rad)
    assert recorded(_record(t_ns, still, np.zeros(2000)), _SPEC).samples == 2000
    with pytest.raises(ValueError, match="uneven"):
        recorded(_record(t_ns, q_rad, np.zeros(2000)), _SPEC)
