"""Which frames are remembered: laws over any way in which frames may have come."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tandem.policies.memory.history import EVERY_S, FRAMES, HISTORIES, History

gaps = st.lists(st.floats(0.02, 12.0), max_size=120)
histories = st.sampled_from(list(HISTORIES.values()))
PINNED = HISTORIES["pinned"]
RECENT = 10


def times(gaps_s: list[float]) -> list[float]:
    found = [0.0]
    for gap_s in gaps_s:
        found.append(found[-1] + gap_s)
    return found


@given(histories, gaps)
def test_the_newest_and_a_pinned_first_are_always_there_and_nothing_twice(
    history: History, gaps_s: list[float]
) -> None:
    stamps = times(gaps_s)
    chosen = history.select(stamps)
    assert chosen[0] == 0 or not history.pinned
    assert chosen[-1] == len(stamps) - 1
    assert all(a < b for a, b in pairwise(chosen))
    assert len(chosen) <= history.frames == FRAMES


@given(histories, gaps)
def test_what_is_never_asked_for_again_can_be_forgotten(
    history: History, gaps_s: list[float]
) -> None:
    """Only the last `kept_s` are ever looked at, and the first frame if it is pinned."""
    stamps = times(gaps_s)
    kept = [
        t
        for i, t in enumerate(stamps)
        if (i == 0 and history.pinned) or stamps[-1] - t <= history.kept_s
    ]
    assert [stamps[i] for i in history.select(stamps)] == [kept[i] for i in history.select(kept)]


@given(st.integers(1, 400))
def test_at_two_frames_a_second_the_last_seconds_are_whole(count: int) -> None:
    stamps = [i * EVERY_S for i in range(count)]
    ages = [stamps[-1] - stamps[i] for i in PINNED.select(stamps)]
    recent = [i * EVERY_S for i in range(min(count, RECENT))]
    assert ages[::-1][: len(recent)] == pytest.approx(recent)


@given(st.integers(100, 400))
def test_older_ones_are_spaced_by_a_ratio_up_to_the_horizon(count: int) -> None:
    stamps = [i * EVERY_S for i in range(count)]
    chosen = PINNED.select(stamps)
    assert len(chosen) == FRAMES
    wanted = PINNED.ages_s[RECENT:]
    older = [stamps[-1] - stamps[i] for i in chosen[1 : 1 + len(wanted)]][::-1]
    assert older == pytest.approx(wanted, abs=EVERY_S / 2 + 1e-9)
    ratios = [b / a for a, b in pairwise(wanted)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert wanted[-1] == pytest.approx(40.0)


@pytest.mark.parametrize(("name", "step_s"), [("dense", 0.1), ("uniform", 2.0)])
def test_the_others_are_evenly_spaced(name: str, step_s: float) -> None:
    history = HISTORIES[name]
    stamps = [i * history.look_s for i in range(500)]
    ages = [stamps[-1] - stamps[i] for i in history.select(stamps)]
    assert ages[::-1] == pytest.approx([i * step_s for i in range(FRAMES)])
