"""The judge against invented episodes, and what chance is worth without a memory."""

import numpy as np
import pytest
from tandem.drivers.sim import kitchen_scene as cell
from tandem.drivers.sim.kitchen import KitchenTruth
from tandem.tools.memory.judge import Book, Heating, fold, judge
from tandem.tools.memory.minds import Memoryless, Oracle

from tests.tools import symbolic_kitchen

ORIGINS = np.array([[0.40, 0.0], [0.55, 0.1]])
ASIDE = np.array([0.024, 0.0])


def heating(can: int, stay_s: float | None = 4.0, off_m: np.ndarray | None = None) -> Heating:
    back = None if stay_s is None else ORIGINS[can] + (0.0 if off_m is None else off_m)
    return Heating(can, 10.0, None if stay_s is None else 10.0 + stay_s, back)


def test_an_episode_done_right_is_a_success() -> None:
    verdict = judge([heating(0), heating(1, off_m=ASIDE)], ORIGINS, 4.0)
    assert verdict.what is True
    assert verdict.where == [True, True]
    assert verdict.doneness == [0.0, 0.0]
    assert verdict.success


def test_each_mistake_is_found_where_it_was_made() -> None:
    twice = judge([heating(1), heating(1)], ORIGINS, 4.0)
    assert (twice.what, twice.success) == (False, False)
    astray = judge([heating(0, off_m=ASIDE * 1.1), heating(1)], ORIGINS, 4.0)
    assert (astray.what, astray.where, astray.success) == (True, [False, True], False)
    burnt = judge([heating(0, stay_s=6.0), heating(1)], ORIGINS, 4.0)
    assert burnt.doneness == [0.5, 0.0]
    assert not burnt.success


def test_what_was_not_reached_is_not_judged() -> None:
    nothing = judge([], ORIGINS, 4.0)
    assert (nothing.what, nothing.where_m, nothing.doneness) == (None, [], [])
    forgotten = judge([heating(0, stay_s=None)], ORIGINS, 4.0)
    assert (forgotten.what, forgotten.where_m, forgotten.doneness) == (None, [], [2.0])
    figures = fold([nothing, forgotten])
    assert figures.what.value is None
    assert (figures.what.reached, figures.what.asked) == (0, 2)
    assert (figures.when.value, figures.when.reached, figures.when.asked) == (2.0, 1, 4)
    assert figures.success.value == 0.0


def test_figures_are_shares_and_means_of_what_was_reached() -> None:
    good = judge([heating(0), heating(1)], ORIGINS, 4.0)
    poor = judge([heating(0, 3.0, ASIDE * 2), heating(0, 2.0)], ORIGINS, 4.0)
    figures = fold([good, good, good, poor])
    assert figures.what.value == pytest.approx(3 / 4)
    assert figures.where.value == pytest.approx(7 / 8)
    assert figures.when.value == pytest.approx((0.25 + 0.5) / 8)
    low, high = figures.when.ci95
    assert low < figures.when.value < high
    assert figures.success.value == pytest.approx(3 / 4)


def test_the_book_times_a_stay_and_waits_until_a_can_stands() -> None:
    """A can is lowered, stays 3 s, is lifted, put down and let go; only then it is back."""
    book, step_s = Book(), 0.05
    high, on, table = 0.2, cell.standing_z_m(on_burner=True), cell.standing_z_m()
    other = [0.38, 0.18, table]
    story = [(cell.BURNER_M, high, True, 20), (cell.BURNER_M, on, False, 60)]
    story += [(cell.BURNER_M, high, True, 20), (ORIGINS[0], table, True, 20)]
    story += [(ORIGINS[0], table, False, 10)]
    t_s, back_at = 0.0, None
    for xy, z, held, steps in story:
        for _ in range(steps):
            cans = np.array([[*xy, z], other])
            book.see(KitchenTruth(t_s, cans, (False, False), (held, False), (True, True)))
            if book.heatings and book.heatings[0].put_back_m is not None and back_at is None:
                back_at = t_s
            t_s += step_s
    (stay,) = book.heatings
    assert stay.t_off_s - stay.t_on_s == pytest.approx(3.0)
    assert stay.put_back_m == pytest.approx(ORIGINS[0])
    assert back_at > 120 * step_s, "still held, it is not put back"
    assert not book.finished


def test_without_a_past_the_present_is_worth_a_coin_and_with_one_all_goes_well() -> None:
    """By construction of the task: what 1/2, where one of 8 free places, when a guess."""
    seeds = range(250)
    seconds = [3 + seed % 3 for seed in seeds]
    blind, knowing = Memoryless(), Oracle()
    play = symbolic_kitchen.play
    chance = fold([play(blind, s, h) for s, h in zip(seeds, seconds, strict=True)])
    assert 0.40 <= chance.what.value <= 0.60
    assert chance.where.value <= 0.25
    assert chance.when.value >= 0.5
    known = fold([play(knowing, s, h) for s, h in zip(seeds[:60], seconds, strict=False)])
    assert (known.what.value, known.where.value, known.success.value) == (1.0, 1.0, 1.0)
    assert known.when.value <= 0.2
