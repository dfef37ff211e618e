"""Laws of the cached trunk, on random weights.

What the cache delivers must be what the whole computation delivers from the same references, after
any history of refreshes, evictions and instructions.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.engine import Engine
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.text import COLOURS, INSTRUCTIONS, encode
from torch import Tensor

TOLERANCE = 1e-5
SMALL = S2Config(stem=(8, 8, 8), width=48, depth=3)


def build(config: S2Config = SMALL) -> S2Model:
    """Weights large enough that rows mix strongly: a leak would be seen."""
    torch.manual_seed(0)
    model = S2Model(config).eval().requires_grad_(False)
    for parameter in model.trunk.parameters():
        if parameter.dim() == 2:
            parameter.mul_(3)
    return model


MODEL = build()


def frame(seed: int, model: S2Model = MODEL) -> Tensor:
    images = np.random.default_rng(seed).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    return model.features(torch.from_numpy(images))


FRAMES = [frame(seed) for seed in range(12)]


def question(text: str = "pick up the red cube", model: S2Model = MODEL) -> Tensor:
    return model.tokens.question(tokens(text))


def tokens(text: str = "pick up the red cube") -> Tensor:
    return torch.from_numpy(encode(text))[None]


def cached(engine: Engine, features: Tensor, top: int | None, text: str) -> Tensor:
    """Latent of one step of the engine."""
    if top is not None or not engine.references:
        engine.refresh(features, 0 if top is None else top)
    reading = engine.advance(features, question(text, engine.model))
    readout = engine.model.readout
    pointed = readout.pointer.point(reading.readouts[:, :1], reading.keys, reading.values)[1]
    return readout.normalised(readout.raw(reading.readouts[:, None], pointed))[:, 0]


def whole(first: Tensor, second: Tensor, window: list[Tensor], text: str) -> Tensor:
    """The same latent, everything computed anew; window newest first."""
    return MODEL.latent(first, second, torch.stack(window, 1), tokens(text))


def assert_same(a: Tensor, b: Tensor) -> None:
    assert (a - b).abs().max().item() <= TOLERANCE * max(1.0, b.abs().max().item())


TEXT = "put the blue cube into the bin"


@torch.inference_mode()
def test_gate_open_equals_the_whole_computation() -> None:
    engine = Engine(MODEL)
    for i in range(6):
        window = FRAMES[max(0, i - 3) : i + 1][::-1]
        expected = whole(FRAMES[i], FRAMES[i], window, TEXT)
        assert_same(cached(engine, FRAMES[i], 0, TEXT), expected)


@torch.inference_mode()
def test_gate_closed_on_an_unchanged_image_equals_the_whole_computation() -> None:
    engine = Engine(MODEL)
    for i in range(6):
        latent = cached(engine, FRAMES[0], None, TEXT)
        assert_same(latent, whole(FRAMES[0], FRAMES[0], [FRAMES[0]] * min(i + 1, 4), TEXT))


@torch.inference_mode()
def test_refreshing_l2_alone_keeps_the_old_l1() -> None:
    engine = Engine(MODEL)
    cached(engine, FRAMES[0], None, TEXT)
    latent = cached(engine, FRAMES[1], 1, TEXT)
    assert_same(latent, whole(FRAMES[0], FRAMES[1], [FRAMES[1], FRAMES[0]], TEXT))
    assert engine.cache.version == [1, 2]
    stale = whole(FRAMES[0], FRAMES[0], [FRAMES[1], FRAMES[0]], TEXT)
    assert (latent - stale).abs().max() > 100 * TOLERANCE, "the test must be able to fail"


@torch.inference_mode()
def test_a_dynamic_update_leaves_the_static_bytes_alone() -> None:
    engine = Engine(MODEL)
    cached(engine, FRAMES[0], None, TEXT)
    static = slice(0, SMALL.statics)
    before = [t[..., static, :].clone() for t in (engine.cache.keys, engine.cache.values)]
    for i in range(1, 9):
        cached(engine, FRAMES[i], None, TEXT)
    for old, now in zip(before, (engine.cache.keys, engine.cache.values), strict=True):
        assert old.numpy().tobytes() == now[..., static, :].contiguous().numpy().tobytes()
    assert engine.cache.version == [1, 1]


@torch.inference_mode()
def test_eviction_equals_the_recomputed_window() -> None:
    engine = Engine(MODEL)
    for i in range(9):
        latent = cached(engine, FRAMES[i], None, TEXT)
    assert_same(latent, whole(FRAMES[0], FRAMES[0], FRAMES[5:9][::-1], TEXT))


@torch.inference_mode()
def test_another_instruction_is_exact_and_refreshes_nothing() -> None:
    engine = Engine(MODEL)
    for i in range(3):
        cached(engine, FRAMES[i], None, "pick up the red cube")
    latent = cached(engine, FRAMES[3], None, TEXT)
    assert_same(latent, whole(FRAMES[0], FRAMES[0], FRAMES[:4][::-1], TEXT))
    assert engine.cache.version == [1, 1]


EVENTS = st.tuples(
    st.integers(0, len(FRAMES) - 1),
    st.sampled_from([None, None, None, 1, 0]),
    st.sampled_from(COLOURS),
    st.sampled_from(INSTRUCTIONS["pick"] + INSTRUCTIONS["bin"]),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=12))
@torch.inference_mode()
def test_any_history_equals_the_whole_computation(history: list) -> None:
    replay(history)


@torch.inference_mode()
def test_three_hundred_random_steps_do_not_drift() -> None:
    rng = np.random.default_rng(1)
    tops = (None, None, None, None, 1, 0)
    replay(
        [
            (
                int(rng.integers(len(FRAMES))),
                tops[rng.integers(len(tops))],
                COLOURS[rng.integers(6)],
                INSTRUCTIONS["pick"][rng.integers(8)],
            )
            for _ in range(300)
        ],
        check_every=10,
    )


def replay(history: list, check_every: int = 1) -> None:
    engine = Engine(MODEL)
    references: list[Tensor] = []
    window: list[Tensor] = []
    for i, (index, top, colour, template) in enumerate(history):
        features, text = FRAMES[index], template.format(colour)
        first = 0 if not references else top
        if first is not None:
            references = [*references[:first], *[features] * (2 - first)]
        window = [features, *window[:3]]
        latent = cached(engine, features, top, text)
        if i % check_every == 0 or i == len(history) - 1:
            assert_same(latent, whole(references[0], references[1], window, text))


@torch.inference_mode()
def test_an_old_frame_weighs_differently_from_a_new_one() -> None:
    forward = whole(FRAMES[0], FRAMES[0], [FRAMES[1], FRAMES[2], FRAMES[3]], TEXT)
    swapped = whole(FRAMES[0], FRAMES[0], [FRAMES[1], FRAMES[3], FRAMES[2]], TEXT)
    assert (forward - swapped).abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("pixel", [(5, 5), (64, 64), (120, 20)])
@torch.inference_mode()
def test_a_change_stays_local_in_the_features(pixel: tuple[int, int]) -> None:
    """A norm over the whole image would move every patch."""
    image = np.full((1, 128, 128, 3), 90, np.uint8)
    other = image.copy()
    other[0, pixel[0] - 3 : pixel[0] + 3, pixel[1] - 3 : pixel[1] + 3] = 250
    a, b = (MODEL.features(torch.from_numpy(x))[0] for x in (image, other))
    moved = ((a - b).abs().max(-1).values > 1e-6).view(8, 8)
    rows, columns = torch.nonzero(moved, as_tuple=True)
    assert 1 <= len(rows) <= 9
    assert (rows - pixel[0] // 16).abs().max() <= 1
    assert (columns - pixel[1] // 16).abs().max() <= 1
