"""Which frames are kept, and which tokens are static."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.caches.sdvla.episodes import Draw, Episode, pairs
from tandem.policies.caches.sdvla.history import Last, Spaced, Window
from tandem.policies.caches.sdvla.partition import IndexPartition, MotionPartition, QueryPartition
from tandem.runtime.errors import ConfigError

TOKENS = torch.zeros(1, 1)
SIZES = (3, 2, 4)


def held_s(window: Window) -> list[float]:
    return [frame.time_s for frame in window.frames]


@given(st.integers(1, 6), st.integers(0, 7), st.booleans(), st.integers(1, 40))
def test_the_newest_is_always_held_and_slots_are_never_shared(
    capacity: int, pinned: int, ordered: bool, frames: int
) -> None:
    for keep in (Last(pinned), Spaced(0.2, 0.5, 2.0, pinned)):
        window = Window(capacity, keep, ordered)
        for i in range(frames):
            window.admit(TOKENS, 0.1 * i)
            count = min(i + 1, capacity)
            assert held_s(window) == sorted(held_s(window))
            assert held_s(window)[-1] == 0.1 * i
            slots = [frame.slot for frame in window.frames]
            assert sorted(slots) == list(range(count))
            assert slots == sorted(slots) or not ordered
        if pinned and capacity > 1:
            assert held_s(window)[0] == 0.0


def test_the_last_frames() -> None:
    window, pinned = Window(3, Last(), False), Window(3, Last(pinned=1), False)
    for i in range(8):
        window.admit(TOKENS, i)
        pinned.admit(TOKENS, i)
    assert held_s(window) == [5, 6, 7]
    assert held_s(pinned) == [0, 6, 7]


@settings(max_examples=20)
@given(st.integers(0, 300))
def test_a_memory_of_forty_seconds_in_twenty_frames(beyond: int) -> None:
    """Frame 0 for ever, every half second for five seconds, ever farther apart to forty."""
    window = Window(20, Spaced(0.5, 5.0, 40.0, pinned=1), False)
    now = 60.0 + beyond / 10
    for i in range(600 + beyond + 1):
        window.admit(TOKENS, i / 10)
    ages = [now - time_s for time_s in held_s(window)][1:]
    assert held_s(window)[0] == 0.0
    assert ages[0] >= 20, "the distant past is covered"
    for older, newer in pairwise(ages):
        assert older - newer <= 2.5 * max(0.5, 0.5 * older / 5), "no hole in what is remembered"


def test_groups_are_disjoint_and_complete() -> None:
    order = torch.tensor([8, 1, 0, 3, 2, 5, 4, 7, 6])
    features = torch.randn(2, 9, 5)
    partition = IndexPartition(SIZES, order)
    groups = torch.cat([partition(features, group) for group in range(3)], 1)
    assert torch.equal(groups, features[:, order])
    with pytest.raises(ConfigError, match="exactly once"):
        IndexPartition(SIZES, torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 7]))


def test_what_moves_becomes_dynamic() -> None:
    torch.manual_seed(0)
    partition = MotionPartition(SIZES, every=20, memory=20)
    still, moving, drifting = torch.randn(1, 9, 5), [0, 4, 5, 8], [2, 7]
    changes = []
    for _ in range(40):
        frame = still.clone()
        frame[:, moving] += torch.randn(1, 4, 5)
        frame[:, drifting] += 0.3 * torch.randn(1, 2, 5)
        changes.append(partition.observe(frame))
    assert partition.indices(2).tolist() == moving
    assert partition.indices(1).tolist() == drifting
    assert partition.indices(0).tolist() == [1, 3, 6]
    assert [i for i, changed in enumerate(changes) if changed] == [19], "once, and no more"


def test_queries_of_one_group_know_nothing_of_the_others() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 9, 8)
    partition = QueryPartition(SIZES, 8, 2)
    before = [partition(features, group) for group in range(3)]
    assert [tokens.shape for tokens in before] == [(2, size, 8) for size in SIZES]
    with torch.no_grad():
        partition.queries[3:5] += 1
    after = [partition(features, group) for group in range(3)]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


def room(seed: int, frames: int = 30) -> Episode:
    """Every feature says which episode and which frame it is of."""
    features = torch.full((frames, 2, 3), 100.0 * seed) + torch.arange(frames)[:, None, None]
    features[:, 0, 0] += torch.arange(frames) // 10 * 50  # something happens every ten frames
    time_s = torch.arange(frames, dtype=torch.float64) / 10
    return Episode(features, time_s, torch.tensor([seed]), torch.arange(frames))


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 12), st.integers(0, 99))
def test_pairs_are_of_one_episode_and_in_order(frames: int, longest: int, seed: int) -> None:
    rooms = [room(0), room(1, frames=7), room(2, frames=2)]
    batch = next(pairs(rooms, Draw(16, frames, longest), seed))
    assert batch.window.shape == (16, frames, 2, 3)
    frame, then = batch.window[:, :, 1, 1], batch.then[:, 1, 1]
    assert torch.equal(frame[:, -1], 100.0 * batch.episode + batch.target)
    assert torch.equal(frame[:, -1] - then, batch.gap_frames.float())
    assert torch.equal(batch.text[:, 0], batch.episode)
    assert torch.equal(frame.diff(dim=1), torch.ones(16, frames - 1))
    assert torch.equal((10 * batch.time_s[:, -1]).round().long(), batch.target)
    assert (batch.gap_frames <= longest).all()
    assert (batch.gap_frames >= 0).all()
    assert frames < 3 or 2 not in batch.episode, "too short for the history"


def test_half_of_the_pairs_look_for_what_changed() -> None:
    rooms = [room(i) for i in range(4)]

    def changed(eventful: float) -> float:
        batch = next(pairs(rooms, Draw(400, 1, 12, eventful), 3))
        return (batch.target // 10 != (batch.target - batch.gap_frames) // 10).float().mean().item()

    assert changed(1.0) > changed(0.0) + 0.1
    with pytest.raises(ConfigError, match="no episode"):
        next(pairs([room(0, frames=2)], Draw(frames=3)))
    with pytest.raises(ConfigError, match="share"):
        Draw(eventful=2)
