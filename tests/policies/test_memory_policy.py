"""The model that remembers: kept rows equal a fresh pass, frames are isolated, the cut is a cut."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.memory import macs, storage
from tandem.policies.memory.config import INTERVAL_LOOKS, MemoryConfig, Refresh
from tandem.policies.memory.history import HISTORIES
from tandem.policies.memory.model import MemoryModel, Question, each, stacked
from tandem.policies.memory.policy import MemoryPolicy
from tandem.policies.memory.subgoals import INSTRUCTION, seconds_of
from tandem.runtime.errors import RefusedError, WeightsError
from torch.utils.flop_counter import FlopCounterMode

SMALL = MemoryConfig(stem=(4, 6), width=24, heads=4, squeeze=4)
RNG = np.random.default_rng(5)
IMAGES = [RNG.integers(0, 256, (128, 128, 3), np.uint8) for _ in range(6)]


@pytest.fixture(scope="module")
def model() -> MemoryModel:
    return made(SMALL)


def made(config: MemoryConfig) -> MemoryModel:
    torch.manual_seed(3)
    model = MemoryModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.gate.heads.weight.mul_(20)  # noise makes it fire now and then
    return model.eval()


def fresh(
    model: MemoryModel, seen: list[tuple[int, float]], references: list[np.ndarray]
) -> np.ndarray:
    """The same from nothing: every frame through the stem, all rows in one pass."""
    history = model.config.history
    chosen = [seen[i] for i in history.select([t for _, t in seen])]
    with torch.inference_mode():
        images = torch.from_numpy(np.stack([IMAGES[image] for image, _ in chosen]))
        tokens = model.dynamic(model.features(images))[None]
        ages = torch.tensor([[seen[-1][1] - t for _, t in chosen]], dtype=torch.float32)
        held = torch.ones(ages.shape, dtype=torch.bool)
        first = (torch.arange(len(chosen))[None] == 0) & history.pinned
        statics = [model.features(torch.from_numpy(image)[None]) for image in references]
        if model.config.refresh == "blank":
            statics = [torch.zeros_like(features) for features in statics]
        logits = model(statics, tokens, Question(ages, first, held, torch.tensor([4])))
    return logits[0].softmax(-1).numpy()


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(list(HISTORIES)),
    st.sampled_from(get_args(Refresh)),
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=60),
)
def test_what_is_kept_equals_what_would_be_computed_anew(remembered, refresh, story) -> None:
    """Any history, any sequence of frames, refreshes and questions."""
    policy = MemoryPolicy(made(replace(SMALL, remembered=remembered, refresh=refresh)))
    policy.begin(INSTRUCTION.format(4), np.random.default_rng(0))
    seen: list[tuple[int, float]] = []
    references: list[np.ndarray] = []
    for step, (image, handed_over, asked) in enumerate(story):
        policy.see(IMAGES[image], step * 0.5, handed_over)
        seen.append((image, step * 0.5))
        if refresh != "gate":
            due = not references or (handed_over and refresh == "hand-over")
            later = 1 if refresh == "interval" and step % INTERVAL_LOOKS == 0 else None
            assert policy.refreshed == (0 if due else later)
        if policy.refreshed is not None:
            kept = references[: policy.refreshed]
            references = [*kept, *([IMAGES[image]] * (len(SMALL.levels) - policy.refreshed))]
        if asked or step == len(story) - 1:
            np.testing.assert_allclose(
                policy.chances(), fresh(policy.model, seen, references), atol=1e-5, rtol=0
            )


def test_multiply_adds_are_those_of_torch(model) -> None:
    """Stage by stage; torch counts two floating-point operations for each."""
    images = torch.from_numpy(np.stack(IMAGES[:1]))

    def counted(stage) -> tuple[object, int]:
        with torch.inference_mode(), FlopCounterMode(display=False) as count:
            found = stage()
        return found, count.get_total_flops() // 2

    features, stem = counted(lambda: model.features(images))
    tokens, mixed = counted(lambda: model.dynamic(features))
    assert stem + mixed == macs.look(SMALL)
    first, l1 = counted(lambda: model.level_rows(0, features, []))
    second, l2 = counted(lambda: model.level_rows(1, features, [first]))
    assert [l1 + l2, l2] == [macs.statics(SMALL, top) for top in (0, 1)]
    statics, three = stacked([first, second]), (3, -1, -1, -1)
    spread = each(statics, lambda rows: rows.expand(three))
    rows, frames = counted(lambda: model.frame_rows(tokens.expand(3, -1, -1), spread))
    assert frames == macs.frames(SMALL, 3)
    held = torch.ones(1, 3, dtype=torch.bool)
    question = Question(torch.zeros(1, 3), ~held, held, torch.tensor([3]))
    _, asked = counted(lambda: model.ask(statics, each(rows, lambda r: r[None]), question))
    assert asked == macs.ask(SMALL, 3)


def test_an_empty_slot_says_nothing_and_a_frame_knows_only_itself(model) -> None:
    features = model.features(torch.from_numpy(np.stack(IMAGES[:1])))
    statics = [features, features]
    tokens = torch.randn(1, 3, SMALL.dynamic, SMALL.width)
    slots = torch.tensor([[4.0, 2.0, 0.0]]), torch.zeros(1, 3, dtype=torch.bool)
    slots = (*slots, torch.tensor([[False, True, True]]))
    seconds = torch.tensor([3])
    full = model(statics, tokens, Question(*slots, seconds))
    other = tokens.clone()
    other[:, 0] = 7.0
    assert torch.equal(full, model(statics, other, Question(*slots, seconds)))
    later = Question(*(each[:, 1:] for each in slots), seconds)
    torch.testing.assert_close(full, model(statics, tokens[:, 1:], later))
    order = [2, 0, 1]  # frames are told apart by their age, not by their slot
    turned = Question(*(each[:, order] for each in slots), seconds)
    torch.testing.assert_close(full, model(statics, tokens[:, order], turned))


def test_a_cut_history_forgets_everything_but_the_newest_frame(model) -> None:
    long, short = MemoryPolicy(model, remembers=False), MemoryPolicy(model, remembers=False)
    for policy, images in ((long, (0, 1, 2)), (short, (2,))):
        policy.begin(INSTRUCTION.format(5), np.random.default_rng(0))
        for image in images:
            policy.see(IMAGES[image], image * 0.5, handed_over=False)
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
