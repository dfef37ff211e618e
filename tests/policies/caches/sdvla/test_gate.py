"""The gate, its state machine and the thresholds that recordings give it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla.calibrate import Calibration, Shares, replay
from tandem.policies.caches.sdvla.gate import Gate
from torch import Tensor

PATCHES, WIDTH = 9, 12


def gate(levels: int = 3) -> Gate:
    torch.manual_seed(0)
    made = Gate(WIDTH, PATCHES, levels, hidden=(16, 8), mixed=(12, 4)).requires_grad_(False)
    for parameter in made.parameters():
        parameter.mul_(4)
    return made


def recording(seed: int, frames: int = 120, step: float = 0.15) -> Tensor:
    """A scene that wanders, with a jump now and then."""
    generator = torch.Generator().manual_seed(seed)
    moves = step * torch.randn(frames, PATCHES, WIDTH, generator=generator)
    moves[::30] *= 10
    return moves.cumsum(0)


def test_the_parts_are_the_whole() -> None:
    now, first, second = recording(1, 3)[:, None]
    levels = gate()
    share = levels.before(first)
    scores = levels.scores(levels.now(now), [share, share, levels.before(second)])
    expected = torch.stack([levels(now, reference)[0] for reference in (first, first, second)])
    assert torch.allclose(scores[0], expected.sigmoid().diagonal(), atol=1e-6)


def test_at_the_shape_of_openvla_the_gate_is_as_small_as_it_says() -> None:
    assert sum(p.numel() for p in Gate(2176, 256, 2).parameters()) == pytest.approx(1.2e6, rel=0.05)


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_laws_of_the_state_machine(scores: list[list[float]], max_age: int) -> None:
    recache = Recache((0.5, 0.4, 0.3), max_age_frames=max_age)
    for frame in scores:
        before = list(recache.age_frames)
        top = recache.decide(frame)
        refreshed = 3 if top is None else top
        assert recache.age_frames[refreshed:] == [0] * (3 - refreshed), "linkage"
        assert recache.age_frames[:refreshed] == [age + 1 for age in before[:refreshed]]
        assert max(recache.age_frames) < max_age
        if any(score > 0.7 for score in frame):
            assert top is not None
    assert Recache((1.0,)).decide([1.0]) is None, "a threshold of 1 never fires"
    assert Recache((1.0, 1.0, 1.0)).decide([0.0, 0.0, 0.0], force=1) == 1


def test_a_replay_is_what_the_state_machine_does_live() -> None:
    levels, features = gate(), recording(2)
    run = replay(levels, Shares.of(levels, features), Recache((0.6, 0.5, 0.4)))
    live = Recache((0.6, 0.5, 0.4))
    references: list[Tensor] = []
    for i, frame in enumerate(features[:, None]):
        scores = [1.0] * 3
        if references:
            scores = levels.scores(levels.now(frame), references)[0].tolist()
        top = live.decide(scores, None if i else 0)
        assert run.refreshed[i].nonzero()[:, 0].tolist() == (
            [] if top is None else [*range(top, 3)]
        )
        assert run.scores[i].tolist() == pytest.approx(scores, abs=1e-5)
        if top is not None:
            share = levels.before(frame)
            references = [*references[:top], *([share] * (3 - top))]


class Distance:
    """A gate that says how far the scene has gone; level 1 is the more sensitive one."""

    def now(self, features: Tensor) -> Tensor:
        return features

    def before(self, reference: Tensor) -> Tensor:
        return reference

    def mix(self, hidden: Tensor) -> Tensor:
        far = hidden.square().mean((1, 2))
        return torch.stack([far - 5, 2 * far - 5], 1)


@pytest.mark.parametrize("targets", [(0.02, 0.04), (0.05, 0.2), (0.1, 0.1), (0.3, 0.5)])
def test_thresholds_reach_the_rates_wanted(targets: tuple[float, float]) -> None:
    shares = [Shares.of(Distance(), recording(seed)) for seed in (3, 4)]
    calibration = Calibration(Distance(), shares, max_age_frames=10_000, rounds=10)
    found = calibration.fit(targets)
    for rate, target in zip(found.rates, targets, strict=True):
        assert 0.7 * target <= rate <= target
    assert found.rates == calibration.rates(found.thresholds)


def test_a_target_out_of_reach_is_reported_as_it_is() -> None:
    one = gate(1)
    calibration = Calibration(one, [Shares.of(one, recording(5))], max_age_frames=4)
    found = calibration.fit((0.01,))
    assert found.thresholds == (1.0,)
    assert found.rates[0] == pytest.approx(0.25, abs=0.01)
