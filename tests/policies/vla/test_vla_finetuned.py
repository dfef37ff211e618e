"""SD-VLA's trained parts around a checkpoint: what the policy says is what their stream says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla import storage
from tandem.policies.caches.sdvla.stream import Stream
from tandem.policies.trunk.load import load_trunk
from tandem.policies.trunk.towers import load_vision
from tandem.policies.vla.policy import Vla
from tandem.runtime.errors import ConfigError, RefusedError, WeightsError
from tandem.runtime.interfaces import Frame, Observation

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints, pis
from tests.policies.vla.parts import LAYOUT, trained

SIDE = checkpoints.SIDE_PX
IMAGES = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
PERIOD_NS = 100_000_000
ASKED = "In : What action should the robot take to pick up the red cube ? Out : ▁"


@pytest.fixture
def folder(folders: dict[str, Path]) -> Path:
    return folders["openvla"]


def policy(folder: Path, parts: Path, **given: object) -> Vla:
    return checkpoints.policy(folder, strategy="sdvla", parts=str(parts), **given)


def seen(number: int) -> Observation:
    return Observation(0, {"front": Frame(IMAGES[number % 6], number * PERIOD_NS, number)})


def test_the_policy_says_what_the_stream_says(folder: Path, tmp_path: Path) -> None:
    parts = trained(folder, tmp_path)
    made = policy(folder, parts, thresholds=(0.55, 0.5), max_age_frames=3)
    vision = load_vision(folder)
    model = storage.load(parts, load_trunk(folder), vision.projector)
    stream = Stream(model, Recache((0.55, 0.5), max_age_frames=3))
    tokens = checkpoints.tokens(ASKED)
    stream.instruct(torch.tensor([0] * (LAYOUT.text - len(tokens)) + tokens))
    assert made.spec.latent_shape == (3, zoo.WIDTH)
    for number in range(8):
        out = made.step(seen(number))
        step = stream.step(vision.look(IMAGES[number % 6]), number / 10)
        np.testing.assert_allclose(out.latent, step.hidden.numpy(), atol=4e-3)
        assert out.gate == pytest.approx(step.verdict.scores, abs=1e-4)
        assert out.refreshed == [step.refreshed is not None and i >= step.refreshed for i in (0, 1)]
        assert out.age_frames == stream.decision.recache.age_frames
        assert (out.macs < out.macs_full) == (step.refreshed != 0)
    assert out.version[1] >= out.version[0] >= 2


def test_parts_of_two_cameras_around_a_trunk_that_sees_both_ways(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """OpenVLA-OFT: the parts' own read-out tokens stand where its empty slots stood."""
    folder = folders["openvla_oft"]
    layout = replace(LAYOUT, levels=(16, 8), dynamic=8)
    parts = trained(folder, tmp_path, layout, bidirectional=True)
    made = policy(folder, parts, cameras=("front", "wrist"), max_age_frames=3)
    vision = load_vision(folder)
    model = storage.load(parts, load_trunk(folder), vision.projector)
    assert model.geometry.bidirectional
    stream = Stream(model, Recache((0.5, 0.5), max_age_frames=3))
    tokens = checkpoints.tokens(ASKED)
    stream.instruct(torch.tensor([0] * (LAYOUT.text - len(tokens)) + tokens))
    for number in range(5):
        images = [IMAGES[number], IMAGES[-number]]
        named = zip(("front", "wrist"), images, strict=True)
        frames = {name: Frame(image, number * PERIOD_NS, number) for name, image in named}
        out = made.step(Observation(0, frames))
        step = stream.step(torch.cat([vision.look(image) for image in images]), number / 10)
        np.testing.assert_allclose(out.latent, step.hidden.numpy(), atol=4e-3)
        assert out.gate == pytest.approx(step.verdict.scores, abs=1e-4)


def test_words_that_hold_the_arms_state_are_other_ones_in_every_frame(tmp_path: Path) -> None:
    folder = pis.save(tmp_path / "c", pis.LEROBOT, {"type": "pi05"})
    pis.normalise(folder, q01=pis.LOW, q99=pis.HIGH)
    layout = replace(LAYOUT, text=110)
    shape = {"bidirectional": True, "features": 32}
    parts = trained(folder, tmp_path / "a", layout, **shape)
    made = policy(folder, parts, state=pis.STATE, text_tokens=None)
    vision = load_vision(folder)
    model = storage.load(parts, load_trunk(folder), vision.projector)
    stream = Stream(model, Recache((0.5, 0.5), max_age_frames=200))
    for number in range(4):
        state = checkpoints.arm_state(number)
        out = made.step(replace(seen(number), state=state))
        tokens = pis.tokens(state)
        stream.instruct(torch.tensor([0] * (110 - len(tokens)) + tokens))
        step = stream.step(vision.look(IMAGES[number]), number / 10)
        np.testing.assert_allclose(out.latent, step.hidden.numpy(), atol=4e-3)
    first = trained(folder, tmp_path / "b", replace(layout, text_first=True), **shape)
    with pytest.raises(ConfigError, match="text before the pictures"):
        policy(folder, first, state=pis.STATE, text_tokens=None)


def test_forgetting_starts_from_nothing(folder: Path, tmp_path: Path) -> None:
    made = policy(folder, trained(folder, tmp_path))
    first = made.step(seen(0))
    made.step(seen(1))
    made.forget()
    again = made.step(seen(0))
    np.testing.assert_array_equal(first.latent, again.latent)
    assert again.version == [1, 1]


def test_the_parts_belong_to_the_latents_name_and_the_gate_does_not(
    folder: Path, tmp_path: Path
) -> None:
    parts = trained(folder, tmp_path)
    file = parts / "parts.safetensors"

    def name_after(tensor: str) -> str:
        tensors = load_file(file)
        tensors[tensor] = tensors[tensor] + 1
        save_file(tensors, file)
        return policy(folder, parts).spec.latent_id

    one = policy(folder, parts).spec.latent_id
    assert name_after("gate.heads.bias") == one
    assert name_after("readout") != one


def test_parts_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    parts = trained(folder, tmp_path / "a")
    with pytest.raises(ConfigError, match="as many numbers, not 3"):
        policy(folder, parts, thresholds=(0.5, 0.5, 0.5))
    with pytest.raises(WeightsError, match="cannot be used"):
        policy(folder, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="two kinds of SD-VLA"):
        policy(folder, parts, partition="motion")
    with pytest.raises(RefusedError, match="were trained with 24"):
        policy(folder, parts).reset("pick up the red cube " * 6)
    with pytest.raises(ConfigError, match=r"16 patches, .* make 32"):
        policy(folder, parts, cameras=("front", "wrist"), pictures=2)
    short = trained(folder, tmp_path / "b", replace(LAYOUT, text=4))
    with pytest.raises(RefusedError, match="were trained with 4"):
        policy(folder, short)
