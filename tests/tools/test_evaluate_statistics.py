"""What may be concluded from counts of successes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tandem.tools.evaluate.statistics import mcnemar_exact, paired, wilson


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_rate_and_stays_a_probability(trials, data):
    successes = data.draw(st.integers(0, trials))
    low, high = wilson(successes, trials)
    assert 0.0 <= low <= successes / trials <= high <= 1.0
    assert high > low


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (95, 100, 0.8882, 0.9785), (280, 300, 0.8994, 0.9564)],
)
def test_wilson_agrees_with_published_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-4)


def test_wilson_of_nothing_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson(5, 4)


@pytest.mark.parametrize(
    ("b", "c", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 0.03125), (1, 9, 0.0215)]
)
def test_mcnemar_is_the_two_sided_sign_test(b, c, p):
    assert mcnemar_exact(b, c) == pytest.approx(p, abs=1e-4)
    assert mcnemar_exact(c, b) == mcnemar_exact(b, c)


def test_paired_counts_each_scene_once():
    pair = paired([True, True, False, False, True], [True, False, True, False, False])
    assert (pair.both, pair.only_first, pair.only_second, pair.neither) == (1, 2, 1, 1)
    assert pair.difference_points == pytest.approx(-20.0)
    assert pair.ci95_points[0] < -20.0 < pair.ci95_points[1]


def test_a_clear_difference_excludes_zero_and_equal_runs_do_not():
    assert paired([False] * 100, [True] * 40 + [False] * 60).ci95_points[0] > 0
    low, high = paired([True] * 100, [True] * 100).ci95_points
    assert low < 0 < high


def test_unpaired_runs_are_refused():
    with pytest.raises(ValueError, match="not pairs"):
        paired([True], [True, False])
