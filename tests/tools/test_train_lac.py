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
from tandem.policies.s2.text import encode
from tandem.tools.train import lac

SMALL = S2Config(stem=(8, 8, 8), width=48, depth=2)
IMAGES = list(np.random.default_rng(0).integers(0, 256, (7, 128, 128, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def model() -> S2Model:
    torch.manual_seed(0)
    return S2Model(SMALL).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def question(model: S2Model) -> torch.Tensor:
    return model.tokens.question(torch.from_numpy(encode("pick up the red cube"))[None])


@pytest.fixture(scope="module")
def seen(model: S2Model, question: torch.Tensor) -> list[lac.Seen]:
    with torch.no_grad():
        return [*lac._watched(model, IMAGES, question, episode=0)]


class _Some(Whole):
    """Everything in the first five frames, then only some patches."""

    def __init__(self, some: torch.Tensor) -> None:
        super().__init__(patch_layout(SMALL))
        self._some, self._count = some, 0

    def plan(self, image: np.ndarray, features: torch.Tensor) -> Plan:
        self._count += 1
        if self._count <= 5:
            return Plan(self._rows, features)
        return Plan(self._rows[self._some], features[self._some])


@torch.no_grad()
def test_the_latent_of_training_is_that_of_the_cache_at_work(model, seen, question):
    some = torch.arange(SMALL.patches) % 3 == 0
    stream, readout = Patchwise(model, _Some(some)), model.readout
    for image, frame in zip(IMAGES[:6], seen, strict=False):
        step = stream.step(image, frame.features[None], question, lambda stage: None)
    reading = step.reading
    pointed = readout.pointer.point(reading.readouts[:, :1], reading.keys, reading.values)[1]
    at_work = readout.normalised(readout.raw(reading.readouts[:, None], pointed))[:, 0]
    before, now = (lac._inputs(model, seen, [row]) for row in (4, 5))
    past = lac.remembered(model, before)
    trained_on = lac.cached_latent(model, past, now, some.float()[None])
    torch.testing.assert_close(trained_on, at_work, atol=1e-5, rtol=0)
    everything = lac.cached_latent(model, past, now, torch.ones(1, SMALL.patches))
    assert float((everything - at_work).abs().max()) > 1e-3


def test_both_stages_move_both_networks(model, seen):
    torch.manual_seed(0)
    networks = LacNetworks(SMALL.grid)
    amounts = lac.Amounts(aligned=25, finetuned=3, batch=4)
    before = {name: weight.clone() for name, weight in networks.state_dict().items()}
    first = lac_training.align(networks, lac.aligning(seen, amounts))
    assert np.mean(first[-5:]) < np.mean(first[:5])
    losses = lac.finetune(networks, model, seen, amounts, lac_training.LacRecipe())
    assert np.isfinite(losses).all()
    for name in ("stem.0.weight", "selector.0.weight", "predictor.2.weight"):
        assert not torch.equal(networks.state_dict()[name], before[name])
