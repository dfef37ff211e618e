"""The model that remembers: kept rows equal a fresh pass, frames are isolated, the cut is a cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.memory import history, storage
from tandem.policies.memory.config import MemoryConfig
from tandem.policies.memory.model import MemoryModel
from tandem.policies.memory.policy import MemoryPolicy
from tandem.policies.memory.subgoals import INSTRUCTION, seconds_of
from tandem.runtime.errors import RefusedError, WeightsError

SMALL = MemoryConfig(stem=(4, 6), width=24, heads=4, squeeze=4)
RNG = np.random.default_rng(5)
IMAGES = [RNG.integers(0, 256, (128, 128, 3), np.uint8) for _ in range(6)]


@pytest.fixture(scope="module")
def model() -> MemoryModel:
    torch.manual_seed(3)
    made = MemoryModel(SMALL)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made.eval()


def fresh(model: MemoryModel, seen: list[tuple[int, float]], reference: int) -> np.ndarray:
    """The same from nothing: every frame through the stem, all rows in one pass."""
    chosen = [seen[i] for i in history.select([t for _, t in seen])]
    with torch.inference_mode():
        images = torch.from_numpy(np.stack([IMAGES[image] for image, _ in chosen]))
        tokens = model.dynamic(model.features(images))[None]
        ages = torch.tensor([[seen[-1][1] - t for _, t in chosen]], dtype=torch.float32)
        held = torch.ones(ages.shape, dtype=torch.bool)
        first = torch.arange(len(chosen))[None] == 0
        features = model.features(torch.from_numpy(IMAGES[reference])[None])
        logits = model(features, tokens, ages, first, held, torch.tensor([4]))
    return logits[0].softmax(-1).numpy()


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=60)
)
def test_what_is_kept_equals_what_would_be_computed_anew(model, story) -> None:
    """Any sequence of frames, refreshes and questions."""
    policy = MemoryPolicy(model)
    policy.begin(INSTRUCTION.format(4), np.random.default_rng(0))
    seen: list[tuple[int, float]] = []
    reference = story[0][0]
    for step, (image, refresh, asked) in enumerate(story):
        policy.see(IMAGES[image], step * 0.5, refresh)
        seen.append((image, step * 0.5))
        reference = image if refresh else reference
        if asked or step == len(story) - 1:
            np.testing.assert_allclose(
                policy.chances(), fresh(model, seen, reference), atol=1e-5, rtol=0
            )


def test_an_empty_slot_says_nothing_and_a_frame_knows_only_itself(model) -> None:
    features = model.features(torch.from_numpy(np.stack(IMAGES[:1])))
    tokens = torch.randn(1, 3, SMALL.dynamic, SMALL.width)
    ages, first = torch.tensor([[4.0, 2.0, 0.0]]), torch.zeros(1, 3, dtype=torch.bool)
    held = torch.tensor([[False, True, True]])
    seconds = torch.tensor([3])
    full = model(features, tokens, ages, first, held, seconds)
    other = tokens.clone()
    other[:, 0] = 7.0
    assert torch.equal(full, model(features, other, ages, first, held, seconds))
    short = model(features, tokens[:, 1:], ages[:, 1:], first[:, 1:], held[:, 1:], seconds)
    torch.testing.assert_close(full, short)
    order = [2, 0, 1]  # frames are told apart by their age, not by their slot
    turned = [x[:, order] for x in (tokens, ages, first, held)]
    torch.testing.assert_close(full, model(features, *turned, seconds))


def test_a_cut_history_forgets_everything_but_the_newest_frame(model) -> None:
    long, short = MemoryPolicy(model, remembers=False), MemoryPolicy(model, remembers=False)
    for policy, images in ((long, (0, 1, 2)), (short, (2,))):
        policy.begin(INSTRUCTION.format(5), np.random.default_rng(0))
        for image in images:
            policy.see(IMAGES[image], image * 0.5, refresh=True)
    np.testing.assert_array_equal(long.chances(), short.chances())


def test_weights_come_back_and_wrong_ones_are_named(model, tmp_path) -> None:
    storage.save(model, tmp_path / "w", {})
    loaded = storage.load(tmp_path / "w")
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name].half().float())
    with pytest.raises(WeightsError, match="tandem train memory"):
        storage.load(tmp_path / "none")
    with pytest.raises(WeightsError, match="is not"):
        storage.load("pick_s2")


def test_only_the_instruction_that_was_learned_is_understood() -> None:
    assert seconds_of("Heat each can for 5 seconds then put it back.") == 5
    for words in ("heat each can for 7 seconds, then put it back", "pick up the red cube"):
        with pytest.raises(RefusedError, match="seconds"):
            seconds_of(words)
