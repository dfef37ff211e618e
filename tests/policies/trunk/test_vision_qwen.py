"""Qwen2.5-VL's vision tower: parity with the library, and partial runs that equal whole ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.trunk.packed import pack
from tandem.policies.trunk.towers import load_vision
from tandem.policies.trunk.towers_qwen import CLIP
from tandem.policies.trunk.vision_qwen import QwenVit, QwenVitConfig
from tandem.runtime.errors import ConfigError, WeightsError
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.policies.trunk import zoo

SIDE = 168  # 12 patches: a window of 8, and what is left of one
RNG = np.random.default_rng(0)
IMAGE, OTHER = RNG.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.save("qwen2.5-vl", tmp_path_factory.mktemp("qwen"))


def theirs(image: np.ndarray) -> Tensor:
    inputs = Qwen2VLImageProcessorPil()(images=[image], return_tensors="pt")
    visual = zoo.library("qwen2.5-vl").model.visual
    return visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).pooler_output


@torch.inference_mode()
@pytest.mark.parametrize("newer", [False, True])
def test_rows_are_the_librarys(folder: Path, tmp_path: Path, newer: bool) -> None:
    if newer:
        tensors = {n.replace("visual.", "model.visual."): t for n, t in _all(folder).items()}
        zoo.write(tensors, json.loads((folder / "config.json").read_text()), tmp_path)
    vision = load_vision(tmp_path if newer else folder, size_px=SIDE)
    assert (vision.shuffle, vision.patches) == (2, 36)
    expected = theirs(IMAGE)
    zoo.assert_same(vision.projector(vision.look(IMAGE)), expected)
    pack(vision)
    zoo.assert_same(vision.projector(vision.look(IMAGE)), expected)


@torch.inference_mode()
def test_looking_at_some_rows_leaves_the_others_as_they_were(folder: Path) -> None:
    vision = load_vision(folder, size_px=SIDE)
    before, now = vision.look(IMAGE), vision.look(OTHER)
    vision.look(IMAGE)
    some = torch.arange(36) == 7
    mixed = vision.look(OTHER, some)
    assert mixed[~some].equal(before[~some])
    assert not mixed[some].equal(before[some])
    assert vision.look(OTHER, torch.zeros(36, dtype=torch.bool)).equal(mixed)
    zoo.assert_same(vision.look(OTHER, torch.ones(36, dtype=torch.bool)), now)


SMALL = QwenVitConfig(3, 16, 2, 24, patch=14, grid=6, window=4, whole=(1,))
VIT = zoo.stir(QwenVit(SMALL))
PICTURE = torch.randn(1, 3, 84, 84, generator=torch.Generator().manual_seed(2))
patches = st.lists(st.booleans(), min_size=36, max_size=36).map(torch.tensor)


@given(patches, patches)
@settings(max_examples=15, deadline=None)
@torch.inference_mode()
def test_computing_any_patches_of_the_same_picture_changes_nothing(a: Tensor, b: Tensor) -> None:
    store, whole = VIT.store(), VIT(PICTURE)
    VIT(PICTURE, store)
    for active in (a, b):
        zoo.assert_same(VIT.partial(PICTURE, active, store), whole)


@torch.inference_mode()
def test_windows_keep_patches_apart_but_in_some_layers() -> None:
    vit = zoo.stir(QwenVit(QwenVitConfig(2, 16, 2, 24, patch=14, grid=6, window=4, whole=())))
    changed = PICTURE.clone()
    changed[..., :14, :14] += 1
    moved = (vit(PICTURE) != vit(changed)).any(-1).view(6, 6)
    assert moved[:4, :4].all()
    assert moved.sum() == 16
    assert (VIT(PICTURE) != VIT(changed)).any(-1).all()


@torch.inference_mode()
@pytest.mark.parametrize("active", [36, 5])
def test_multiply_adds_are_those_that_torch_counts(active: int) -> None:
    store = VIT.store()
    # The counter does not know the CPU's fused kernel.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        VIT.partial(PICTURE, torch.arange(36) < active, store)
    assert SMALL.macs(active) == counter.get_total_flops() // 2


@pytest.mark.parametrize("size_px", [None, 0, 100])
def test_the_size_of_pictures_must_be_said(folder: Path, size_px: int | None) -> None:
    with pytest.raises(ConfigError, match="a multiple of 28"):
        load_vision(folder, size_px=size_px)


def test_other_towers_are_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["spatial_merge_size"] = 4
    zoo.write(_all(folder), config, tmp_path)
    with pytest.raises(WeightsError, match="spatial_merge_size 4"):
        load_vision(tmp_path, size_px=SIDE)


def test_a_tower_of_one_size_takes_no_other(tmp_path: Path) -> None:
    zoo.library("paligemma").save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is made for 56; leave it out"):
        load_vision(tmp_path, size_px=224)
    assert load_vision(tmp_path, size_px=56).size == 56


def test_pixels_are_normalised_as_clips() -> None:
    processor = Qwen2VLImageProcessorPil()
    assert (CLIP.mean, CLIP.std) == (tuple(processor.image_mean), tuple(processor.image_std))


def _all(folder: Path) -> dict[str, Tensor]:
    shards = folder.glob("*.safetensors")
    return {name: tensor for shard in shards for name, tensor in zoo.load_file(shard).items()}
