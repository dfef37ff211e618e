"""The analysis behind every figure, with invented time: right before anything is measured."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.tools.bench import figures

LATENESS = st.lists(st.integers(0, 10**9), min_size=1, max_size=300)


@given(LATENESS)
def test_quantiles_are_values_that_were_observed_and_in_order(values):
    summary = figures.summary_us(np.array(values))
    assert {round(value * 1000) for value in summary.values()} <= set(values)
    assert summary["p50"] <= summary["p99"] <= summary["p999"] <= summary["max"]
    assert summary["max"] * 1000 == pytest.approx(max(values))


@given(LATENESS, st.sampled_from(["p50", "p99", "p999"]))
def test_at_least_the_named_share_of_samples_is_not_above_the_quantile(values, name):
    limit_ns = round(figures.summary_us(np.array(values))[name] * 1000)
    assert np.mean(np.array(values) <= limit_ns) >= figures.QUANTILES[name]


def test_one_late_tick_in_a_thousand_shows_in_the_maximum_but_not_in_the_median():
    values = np.full(1000, 1000)
    values[500] = 5_000_000
    assert figures.summary_us(values) == {"p50": 1.0, "p99": 1.0, "p999": 1.0, "max": 5000.0}


def test_no_samples_give_no_figures_rather_than_zero():
    assert set(figures.summary_us(np.zeros(0)).values()) == {None}


def test_pooling_takes_the_median_run_and_the_worst_maximum():
    runs = [figures.summary_us(np.full(10, ns)) for ns in (1000, 9000, 2000)]
    assert figures.pooled(runs) == {"p50": 2.0, "p99": 2.0, "p999": 2.0, "max": 9.0}
    assert figures.pooled([figures.summary_us(np.zeros(0))])["max"] is None


def _grid(count: int, rate_hz: float = 200.0) -> tuple[np.ndarray, np.ndarray]:
    index = np.arange(count)
    return index, (index * NS_PER_S / rate_hz).astype(np.int64) + NS_PER_S


@given(st.integers(0, 10**6))
def test_a_loop_on_the_grid_does_not_drift_however_noisy(seed):
    index, due_ns = _grid(400)
    noise = np.random.default_rng(seed).exponential(50_000, len(due_ns)).astype(np.int64)
    noise[seed % 400] += 20 * NS_PER_MS  # one stall
    assert abs(figures.drift_us(due_ns + noise, index, 200.0)) < 60.0


def test_a_loop_that_loses_ten_microseconds_a_tick_drifts_by_their_sum():
    index, due_ns = _grid(1000)
    # First and last tenth are compared by their medians: 900 of the 1000 ticks lie between.
    assert figures.drift_us(due_ns + index * 10_000, index, 200.0) == pytest.approx(
        9000.0, rel=0.01
    )


def test_skipped_ticks_are_not_drift():
    index, due_ns = _grid(400)
    keep = np.ones(400, dtype=bool)
    keep[100:110] = False
    assert figures.drift_us(due_ns[keep], index[keep], 200.0) == pytest.approx(0.0)
    assert figures.effective_hz(due_ns[keep]) == pytest.approx(200.0 * 389 / 399)


@given(st.floats(-1e6, 1e6), st.integers(0, 1000))
def test_the_slope_is_found_and_one_outlier_does_not_tilt_it(slope, seed):
    t_ns = np.arange(60) * NS_PER_S
    values = 5e4 + slope * t_ns / (3600 * NS_PER_S)
    values[seed % 60] += 1e5
    found = figures.slope_per_hour(t_ns, values)
    assert found == pytest.approx(slope, rel=1e-6, abs=1e-3)


def test_a_single_sample_has_no_slope():
    assert figures.slope_per_hour(np.array([0]), np.array([1.0])) == 0.0


@given(st.integers(1, 5000))
def test_thinning_keeps_the_ends_in_reach(count):
    t_ns, values = figures.thinned(np.arange(count), np.arange(count) * 2.0)
    assert 1 <= len(t_ns) <= 1000
    assert t_ns[0] == 0
    assert np.array_equal(values, t_ns * 2.0)


def test_rounding_reaches_into_the_nest():
    tree = {"a": [1.23456, {"b": np.float64(2.71828)}], "c": 3, "d": None}
    assert figures.rounded(tree) == {"a": [1.235, {"b": 2.718}], "c": 3, "d": None}
