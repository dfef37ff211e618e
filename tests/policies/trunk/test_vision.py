"""Vision towers: parity with the libraries, and partial runs that equal whole ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tandem.policies.trunk.towers import load_vision
from tandem.policies.trunk.vision import HALF, IMAGENET, Norm, Vision
from tandem.policies.trunk.vision_fit import centred_smooth, padded, resize
from tandem.policies.trunk.vit import Vit, VitConfig
from tandem.runtime.errors import WeightsError
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.policies.trunk import zoo

IMAGE = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
OTHER = np.random.default_rng(1).integers(0, 256, (56, 56, 3), dtype=np.uint8)


def pixels(norm: Norm, image: np.ndarray = IMAGE) -> Tensor:
    unit = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    return (unit - torch.tensor(norm.mean)[:, None, None]) / torch.tensor(norm.std)[:, None, None]


def saved(model: nn.Module, folder: Path) -> tuple[nn.Module, Vision]:
    model = zoo.stir(model)
    model.save_pretrained(folder)
    return model, load_vision(folder)


@torch.inference_mode()
def test_siglip_alone(tmp_path: Path) -> None:
    config = hf.SiglipVisionConfig(**zoo.PICTURE, vision_use_head=False)
    model, vision = saved(hf.SiglipVisionModel(config), tmp_path)
    zoo.assert_same(vision.look(IMAGE)[None], model(pixels(HALF)).last_hidden_state)


@torch.inference_mode()
def test_dinov2_with_registers_alone(tmp_path: Path) -> None:
    model, vision = saved(hf.Dinov2WithRegistersModel(dino_config()), tmp_path)
    zoo.assert_same(vision.look(IMAGE)[None], model(pixels(IMAGENET)).last_hidden_state[:, 5:])


def dino_config() -> hf.Dinov2WithRegistersConfig:
    picture = {k: v for k, v in zoo.PICTURE.items() if k != "intermediate_size"}
    return hf.Dinov2WithRegistersConfig(**{**picture, "hidden_size": 32, "num_attention_heads": 16})


@torch.inference_mode()
@pytest.mark.parametrize("old", [False, True])
def test_paligemma(tmp_path: Path, old: bool) -> None:
    """As newer libraries save it, and with the names that were published."""
    model = zoo.library("paligemma")
    model.save_pretrained(tmp_path)
    if old:
        tensors = zoo.read(tmp_path)
        renamed = {n.replace("tower.", "tower.vision_model."): t for n, t in tensors.items()}
        zoo.write(renamed, model.config.to_dict(), tmp_path)
    vision = load_vision(tmp_path)
    features = vision.look(IMAGE)
    zoo.assert_same(features, model.model.vision_tower(pixels(HALF)).last_hidden_state[0])
    zoo.assert_same(
        vision.projector(features), model.get_image_features(pixels(HALF)).pooler_output[0]
    )


@torch.inference_mode()
def test_smolvlm_shuffles_pixels(tmp_path: Path) -> None:
    model, vision = saved(zoo.smolvlm(), tmp_path)
    assert (vision.shuffle, vision.patches) == (2, 4)
    theirs = model.get_image_features(pixels(HALF)[None]).pooler_output
    zoo.assert_same(vision.projector(vision.look(IMAGE)), theirs[0].reshape(4, -1))


def timm_names(model: nn.Module, prefix: str, folder: Path) -> dict[str, Tensor]:
    """The library's towers under timm's names: one qkv, one table of positions without class."""
    model.save_pretrained(folder)
    state, new = zoo.read(folder), {}
    dino = "embeddings.cls_token" in state
    query, out, scale = (
        ("attention.attention.{}", "attention.output.dense", "layer_scale{}.lambda1")
        if dino
        else ("self_attn.{}_proj", "self_attn.out_proj", "")
    )
    parts = ("query", "key", "value") if dino else ("q", "k", "v")
    norms = ("norm1", "norm2") if dino else ("layer_norm1", "layer_norm2")
    for layer in range(zoo.PICTURE["num_hidden_layers"]):
        old = f"encoder.layer.{layer}." if dino else f"encoder.layers.{layer}."
        now = f"{prefix}blocks.{layer}."
        for kind in ("weight", "bias"):
            joined = [state[f"{old}{query.format(part)}.{kind}"] for part in parts]
            new[f"{now}attn.qkv.{kind}"] = torch.cat(joined)
            new[f"{now}attn.proj.{kind}"] = state[f"{old}{out}.{kind}"]
            for theirs, timms in zip(norms, ("norm1", "norm2"), strict=True):
                new[f"{now}{timms}.{kind}"] = state[f"{old}{theirs}.{kind}"]
            for name in ("mlp.fc1", "mlp.fc2"):
                new[f"{now}{name}.{kind}"] = state[f"{old}{name}.{kind}"]
        for i in (1, 2) if dino else ():
            new[f"{now}ls{i}.scale_factor"] = state[old + scale.format(i)]
    patch = "patch_embeddings.projection" if dino else "patch_embedding"
    for kind in ("weight", "bias"):
        new[f"{prefix}patch_embed.proj.{kind}"] = state[f"embeddings.{patch}.{kind}"]
    if dino:
        position = state["embeddings.position_embeddings"]
        new[f"{prefix}cls_token"] = state["embeddings.cls_token"] + position[:, :1]
        new[f"{prefix}reg_token"] = state["embeddings.register_tokens"]
        new[f"{prefix}pos_embed"] = position[:, 1:]
    else:
        new[f"{prefix}pos_embed"] = state["embeddings.position_embedding.weight"][None]
    return new


@torch.inference_mode()
def test_openvla_fuses_two_towers_before_their_last_layer(tmp_path: Path) -> None:
    dino = zoo.stir(hf.Dinov2WithRegistersModel(dino_config()))
    siglip_config = {**zoo.PICTURE, "hidden_size": 48, "num_attention_heads": 16}
    siglip = zoo.stir(
        hf.SiglipVisionModel(
            hf.SiglipVisionConfig(**siglip_config, hidden_act="gelu", vision_use_head=False)
        )
    )
    sizes = ((80, 96), (96, zoo.WIDTH), (zoo.WIDTH, zoo.WIDTH))
    layers = zoo.stir(nn.ModuleList(nn.Linear(*size) for size in sizes))
    tensors = timm_names(dino, "vision_backbone.featurizer.", tmp_path / "dino")
    tensors |= timm_names(siglip, "vision_backbone.fused_featurizer.", tmp_path / "siglip")
    for i, layer in enumerate(layers, 1):
        tensors |= {f"projector.fc{i}.{n}": p for n, p in layer.state_dict().items()}
    zoo.write(tensors, {"model_type": "openvla"}, tmp_path)
    vision = load_vision(tmp_path)

    theirs = [
        dino(pixels(IMAGENET), output_hidden_states=True).hidden_states[-2][:, 5:],
        siglip(pixels(HALF), output_hidden_states=True).hidden_states[-2],
    ]
    features = vision.look(IMAGE)
    zoo.assert_same(features, torch.cat(theirs, -1)[0])
    gelu = nn.functional.gelu
    x = layers[2](gelu(layers[1](gelu(layers[0](features)))))
    zoo.assert_same(vision.projector(features), x)


def test_no_tower_is_told(tmp_path: Path) -> None:
    zoo.write({"x": torch.zeros(1)}, {}, tmp_path)
    with pytest.raises(WeightsError, match="no vision tower under a known name"):
        load_vision(tmp_path)


SMALL = VitConfig(3, 24, 2, 40, patch=14, grid=4, prefix=3, activation="gelu", scaled=True)
VIT = zoo.stir(Vit(SMALL))
BEFORE, NOW = pixels(HALF), pixels(HALF, OTHER)
patches = st.lists(st.booleans(), min_size=16, max_size=16).map(torch.tensor)


@torch.inference_mode()
def test_all_patches_active_is_the_whole_run() -> None:
    store = VIT.store()
    VIT(BEFORE, store)
    zoo.assert_same(VIT.partial(NOW, torch.ones(16, dtype=torch.bool), store), VIT(NOW))
    assert store.features.equal(VIT.partial(NOW, torch.zeros(16, dtype=torch.bool), store))


@given(patches, patches)
@settings(max_examples=15, deadline=None)
@torch.inference_mode()
def test_computing_any_patches_of_the_same_picture_changes_nothing(a: Tensor, b: Tensor) -> None:
    store, whole = VIT.store(), VIT(BEFORE)
    VIT(BEFORE, store)
    for active in (a, b):
        zoo.assert_same(VIT.partial(BEFORE, active, store), whole)


@given(patches)
@settings(max_examples=15, deadline=None)
@torch.inference_mode()
def test_partial_is_attention_with_old_keys_and_values_of_the_rest(active: Tensor) -> None:
    """Written out the slow way: every row computed, then those not active put back."""
    store, old = VIT.store(), VIT.store()
    VIT(BEFORE, store), VIT(BEFORE, old)
    changed = torch.cat((torch.ones(3, dtype=torch.bool), active))[:, None]
    x = VIT._embed(
        NOW.unfold(2, 14, 14).unfold(3, 14, 14).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    )
    for layer, block in enumerate(VIT.blocks):
        query, key, value = block.split(x)
        keys = torch.where(changed, key, old.keys[layer])
        x = block.join(x, query, keys, torch.where(changed, value, old.values[layer]))
    expected = torch.where(active[:, None], VIT.norm(x)[:, 3:], old.features)
    zoo.assert_same(VIT.partial(NOW, active, store), expected)


@torch.inference_mode()
@pytest.mark.parametrize("active", [16, 5, 0])
def test_multiply_adds_are_those_that_torch_counts(active: int) -> None:
    store = VIT.store()
    # The counter does not know the CPU's fused kernel.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        VIT.partial(NOW, torch.arange(16) < active, store)
    assert SMALL.macs(active) == counter.get_total_flops() // 2


@torch.inference_mode()
def test_looking_at_some_rows_of_shuffled_pixels(tmp_path: Path) -> None:
    """A row of SmolVLM is a square of patches: all of them are computed with it."""
    _, vision = saved(zoo.smolvlm(), tmp_path)
    with pytest.raises(RuntimeError, match="no picture yet"):
        vision.look(IMAGE, torch.ones(4, dtype=torch.bool))
    before, now = vision.look(IMAGE), vision.look(OTHER)
    vision.look(IMAGE)
    mixed = vision.look(OTHER, torch.tensor([False, True, False, False]))
    assert mixed[[0, 2, 3]].equal(before[[0, 2, 3]])
    assert not mixed[1].equal(before[1])
    zoo.assert_same(vision.look(OTHER, torch.ones(4, dtype=torch.bool)), now)


@pytest.mark.parametrize("shape", [(480, 640), (90, 40), (56, 56)])
def test_resizing_is_the_one_that_models_were_trained_with(shape: tuple[int, int]) -> None:
    ramp = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 256
    image = np.stack((ramp, 255 - ramp, ramp // 2), -1).astype(np.uint8)
    theirs = np.asarray(Image.fromarray(image).resize((56, 56), Image.Resampling.BICUBIC))
    assert np.abs(resize(image, 56).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("shape", [(480, 640), (90, 40), (56, 56), (20, 30)])
def test_padding_is_the_one_that_smolvla_was_trained_with(shape: tuple[int, int]) -> None:
    """Proportions kept, black at the left and above; LeRobot's is the same before it is rounded."""
    image = np.random.default_rng(2).integers(1, 256, (*shape, 3), dtype=np.uint8)
    inner = [int(side / (max(shape) / 56)) for side in shape]
    planes = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    small = nn.functional.interpolate(planes, inner, mode="bilinear", align_corners=False)
    theirs = nn.functional.pad(small, (56 - inner[1], 0, 56 - inner[0], 0))[0].permute(1, 2, 0)
    assert np.abs(padded(image, 56) - theirs.numpy() * 255).max() < 0.501


@pytest.mark.parametrize("shape", [(480, 640), (90, 41), (56, 56)])
def test_padding_is_the_one_that_pi0_was_trained_with(shape: tuple[int, int]) -> None:
    """openpi's: PIL's bilinear, in the middle."""
    image = np.random.default_rng(2).integers(1, 256, (*shape, 3), dtype=np.uint8)
    height, width = (int(side / (max(shape) / 56)) for side in shape)
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    theirs = Image.new("RGB", (56, 56))
    theirs.paste(small, ((56 - width) // 2, (56 - height) // 2))
    assert np.abs(centred_smooth(image, 56).astype(int) - np.asarray(theirs)).max() <= 1
