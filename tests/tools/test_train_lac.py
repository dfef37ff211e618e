"""Training LAC for System 2: what it learns from is what the cache computes at work."""

import numpy as np
import pytest
import torch
from tandem.policies.caches import lac_training
from tandem.policies.caches.lac_networks import LacNetworks
from tandem.policies.caches.strategy import Plan
from tandem.policies.caches.whole import Whole
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.patchwise import Patchwise, patch_layout
from tandem.tools.train import lac, lac_data

SMALL = S2Config(stem=(8, 8, 8), width=48, depth=2)
IMAGES = list(np.random.default_rng(0).integers(0, 256, (9, 128, 128, 3), dtype=np.uint8))
TASK, COLOUR, THERE = 0, 1, (0, 1, 4)


@pytest.fixture(scope="module")
def model() -> S2Model:
    torch.manual_seed(0)
    return S2Model(SMALL).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def seen(model: S2Model) -> list[lac_data.Seen]:
    with torch.no_grad():
        return [*lac_data.watched(model, IMAGES, TASK, COLOUR, THERE)]


class _Some(Whole):
    """Everything in the first frames, then only some patches."""

    def __init__(self, some: torch.Tensor, whole: int) -> None:
        super().__init__(patch_layout(SMALL))
        self._some, self._whole, self._count = some, whole, 0

    def plan(self, image: np.ndarray, features: torch.Tensor) -> Plan:
        self._count += 1
        if self._count <= self._whole:
            return Plan(self._rows, features)
        return Plan(self._rows[self._some], features[self._some])


@pytest.mark.parametrize("apart", [1, 3])
@torch.no_grad()
def test_the_latent_of_training_is_that_of_the_cache_at_work(model, seen, apart):
    """A patch that was last computed `apart` frames ago, in training and at work."""
    some, last = torch.arange(SMALL.patches) % 3 == 0, 7
    question = lac_data.asked(model, [TASK], [0], [COLOUR])
    stream, readout = Patchwise(model, _Some(some, last - apart + 1)), model.readout
    for image, frame in zip(IMAGES[: last + 1], seen, strict=False):
        step = stream.step(image, frame.features[None], question, lambda stage: None)
    reading = step.reading
    pointed = readout.pointer.point(reading.readouts[:, :1], reading.keys, reading.values)[1]
    at_work = readout.normalised(readout.raw(reading.readouts[:, None], pointed))[:, 0]
    then = seen[last - apart].features[None]
    past = lac.remembered(model, lac_data.statics(model, then))
    frames = lac_data.window(SMALL, seen, np.array([last]))
    now = lac_data.inputs(model, frames, question)
    trained_on = lac.cached_latent(model, past, now, some.float()[None])
    torch.testing.assert_close(trained_on, at_work, atol=1e-5, rtol=0)
    everything = lac.cached_latent(model, past, now)
    assert float((everything - at_work).abs().max()) > 1e-3


@torch.no_grad()
def test_all_anew_is_nothing_kept(model, seen):
    (batch,) = lac_data.pairs(model, seen, batch=2, batches=1, longest=4)
    past = lac.remembered(model, batch.before)
    everything = lac.cached_latent(model, past, batch.now, torch.ones(2, SMALL.patches))
    torch.testing.assert_close(everything, lac.cached_latent(model, past, batch.now))


def test_pairs_stay_in_their_episode_and_within_reach(model, seen, monkeypatch):
    apart: list[int] = []
    honest = lac_data._motion

    def noted(flow, before, now):
        apart.append(now.frame - before.frame)
        return honest(flow, before, now)

    monkeypatch.setattr(lac_data, "_motion", noted)
    two = [*seen, *seen]  # of two episodes
    list(lac_data.pairs(model, two, batch=20, batches=4, longest=3))
    assert set(apart) == {1, 2}


@pytest.mark.parametrize(("error", "low", "high"), [(1e-4, 0, 0.02), (1e-2, 0.2, 0.5), (1, 1, 1)])
def test_harm_counts_small_errors_too(error, low, high):
    said = torch.full((3, 2, 64), error**0.5)
    assert low <= float(lac.harm(said, torch.zeros_like(said))) <= high + 1e-6


def test_both_stages_move_both_networks(model, seen):
    torch.manual_seed(0)
    networks = LacNetworks(SMALL.grid, channels=(8, 16, 32))
    before = {name: weight.clone() for name, weight in networks.state_dict().items()}
    first = lac_training.align(networks, lac_data.aligning(seen, 4, 25))
    assert np.mean(first[-5:]) < np.mean(first[:5])
    drawn = lac_data.pairs(model, seen, batch=4, batches=3, longest=4)
    losses = lac.finetune(networks, model, drawn, lac_training.LacRecipe())
    assert np.isfinite(losses).all()
    for name in ("stem.0.weight", "selector.0.weight", "predictor.2.weight"):
        assert not torch.equal(networks.state_dict()[name], before[name])
