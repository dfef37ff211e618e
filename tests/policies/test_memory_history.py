"""Which frames are remembered: laws over any way in which frames may have come."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tandem.policies.memory import history

gaps = st.lists(st.floats(0.02, 12.0), max_size=120)


def times(gaps_s: list[float]) -> list[float]:
    found = [0.0]
    for gap_s in gaps_s:
        found.append(found[-1] + gap_s)
    return found


@given(gaps)
def test_the_first_and_the_newest_are_always_there_and_nothing_twice(gaps_s: list[float]) -> None:
    stamps = times(gaps_s)
    chosen = history.select(stamps)
    assert chosen[0] == 0
    assert chosen[-1] == len(stamps) - 1
    assert all(a < b for a, b in pairwise(chosen))
    assert len(chosen) <= history.FRAMES


@given(gaps)
def test_what_is_never_asked_for_again_can_be_forgotten(gaps_s: list[float]) -> None:
    """Only the first frame and the last KEPT_S are ever looked at."""
    stamps = times(gaps_s)
    kept = [t for i, t in enumerate(stamps) if i == 0 or stamps[-1] - t <= history.KEPT_S]
    assert [stamps[i] for i in history.select(stamps)] == [kept[i] for i in history.select(kept)]


@given(st.integers(1, 400))
def test_at_two_frames_a_second_the_last_seconds_are_whole(count: int) -> None:
    stamps = [i * history.EVERY_S for i in range(count)]
    ages = [stamps[-1] - stamps[i] for i in history.select(stamps)]
    recent = [i * history.EVERY_S for i in range(min(count, history.RECENT))]
    assert ages[::-1][: len(recent)] == pytest.approx(recent)


@given(st.integers(100, 400))
def test_older_ones_are_spaced_by_a_ratio_up_to_the_horizon(count: int) -> None:
    stamps = [i * history.EVERY_S for i in range(count)]
    chosen = history.select(stamps)
    assert len(chosen) == history.FRAMES
    older = [stamps[-1] - stamps[i] for i in chosen[1 : 1 + history.OLDER]][::-1]
    wanted = history.AGES_S[history.RECENT :]
    assert older == pytest.approx(wanted, abs=history.EVERY_S / 2 + 1e-9)
    ratios = [b / a for a, b in pairwise(wanted)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert wanted[-1] == pytest.approx(history.HORIZON_S)
