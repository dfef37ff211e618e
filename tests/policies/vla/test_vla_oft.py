"""OpenVLA-OFT as System 2: a prompt that sees all of itself, read out at its empty action slots.

The yardstick is transformers' Llama over the whole sequence, and, where a cache keeps rows, the
same layers with the same rows kept.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tandem.policies.caches.lac_networks import LacNetworks
from tandem.policies.trunk.graphs import GraphedTrunk
from tandem.policies.trunk.load import load_trunk
from tandem.policies.trunk.towers import load_vision
from tandem.policies.vla import loading
from tandem.policies.vla.make import LATENT_MAX_BYTES
from tandem.runtime import streams
from tandem.runtime.app import build
from tandem.runtime.config import S2, Cache
from tandem.runtime.errors import ConfigError, RefusedError, WeightsError
from tandem.runtime.messages import encode

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints
from tests.policies.vla.checkpoints import PANDA, seen
from tests.policies.vla.conftest import Said
from tests.policies.vla.library import Layers
from tests.policies.vla.ofts import (
    ACTIONS,
    CAMERAS,
    PATCHES,
    SLOTS,
    film,
    looked,
    policy,
    sequence,
    whole,
)

RULES = ("none", "fixed_interval", "vla_cache", "ttf", "lac", "dual_cache")


@torch.inference_mode()
@pytest.mark.parametrize("cameras", [1, 2])
def test_it_says_what_the_library_says(folders: dict[str, Path], said: Said, cameras: int) -> None:
    folder = folders["openvla_oft"]
    made = policy(folder, cameras)
    assert made.spec.latent_shape == (SLOTS, zoo.WIDTH)
    for pictures in film(cameras, 3):  # BOS, too, saw the picture of the frame before
        out = made.step(seen(*pictures))
        expected = whole(sequence(looked(folder, pictures)))
        zoo.assert_same(said[-1][1].hidden, expected)
        np.testing.assert_allclose(out.latent, expected, atol=4e-3)
    made.reset("pick up the green cube")
    made.step(seen(*pictures))
    assert (said[-1][1].hidden - expected).abs().max() > 1e-3


@torch.inference_mode()
@pytest.mark.parametrize("cameras", [1, 2])
@pytest.mark.parametrize("strategy", RULES)
def test_a_cached_step_is_the_librarys_with_the_same_rows_kept(
    folders: dict[str, Path], tmp_path: Path, said: Said, strategy: str, cameras: int
) -> None:
    folder, more = folders["openvla_oft"], {}
    if strategy == "lac":
        torch.manual_seed(0)
        save_file(LacNetworks(4).state_dict(), tmp_path / "lac.safetensors")
        more["lac_weights"] = str(tmp_path / "lac.safetensors")
    made = policy(folder, cameras, strategy=strategy, max_age_frames=3, **more)
    visual = cameras * PATCHES
    projector = load_vision(folder).projector
    x = sequence(torch.zeros(visual, zoo.WIDTH))
    asking = torch.tensor([0, *range(1 + visual, len(x))])  # whatever sees the picture, always anew
    library = Layers(checkpoints.library_llama(), len(x))
    del said[:]  # the rehearsal
    for pictures in film(cameras):
        made.step(seen(*pictures))
        layout, reading = said[-1]
        first = 1 - layout.visual_rows.start  # of a row to its place
        plan = reading.plan
        x[plan.rows + first] = projector(plan.features)
        places = torch.cat([asking, plan.rows + first]).sort().values
        leave = {layer: rows + first for layer, rows in plan.leave.items()}
        hidden = library.step(x[places], places, leave)
        zoo.assert_same(reading.hidden, hidden[-SLOTS - 2 : -2])
    computed = [sum(reading.work.trunk) for _, reading in said]
    # LAC fills its choice up to 16 rows, and there are no more in one picture.
    assert (min(computed) < computed[0]) == (strategy not in ("none", "ttf", "lac"))


@torch.inference_mode()
@pytest.mark.parametrize("cameras", [1, 2])
def test_sdvla_is_exact_under_blocks(folders: dict[str, Path], said: Said, cameras: int) -> None:
    """As one full forward over static patches of the frame of the refresh and dynamic ones of now;
    static rows see neither what is dynamic nor words, everything else sees everything."""
    folder = folders["openvla_oft"]
    made = policy(
        folder, cameras, strategy="sdvla", partition="motion", static=0.75, max_age_frames=4
    )
    static = round(0.75 * cameras * PATCHES)
    pictures = film(cameras)
    places = len(sequence(looked(folder, pictures[0])))
    mask = torch.ones(places, places, dtype=torch.bool)
    mask[0, 1:] = False
    mask[1 : 1 + static, 1 + static :] = False
    kept = torch.zeros(0)
    for frame, shown in enumerate(pictures):
        out = made.step(seen(*shown, seq=frame))
        now = looked(folder, shown)
        kept = now[:static] if frame in (0, 4) else kept
        assert out.refreshed == [frame in (0, 4)]
        expected = whole(sequence(torch.cat([kept, now[static:]])), mask)
        zoo.assert_same(said[-1][1].hidden, expected)
    made.reset("pick up the green cube")  # static rows have seen no word
    assert made.step(seen(*shown)).refreshed == [False]


def test_all_numbers_of_its_actions_are_read_out(folders: dict[str, Path]) -> None:
    folder = folders["openvla_oft"]
    made = policy(folder, actions=())
    assert made.spec.latent_shape == (56, zoo.WIDTH)
    assert policy(folder, actions=(8, 7)).spec.latent_id == made.spec.latent_id
    assert policy(folder).spec.latent_id != made.spec.latent_id
    with pytest.raises(ConfigError, match=r"all 2×3 numbers"):
        policy(folder, readouts=1)
    for wrong in ((8,), 56, (0, 7)):
        with pytest.raises(ConfigError, match="steps of a chunk"):
            policy(folder, actions=wrong)


def test_published_latents_fit_the_stream_and_alohas_must_be_narrowed(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    made = policy(folders["openvla_oft"]).step(seen(*film(1)[0]))
    around = len(encode(made)) - made.latent.nbytes
    assert 56 * 4096 * 2 < LATENT_MAX_BYTES < streams.CONDITIONING.max_bytes - around
    with pytest.raises(ConfigError, match=r"s2\.options\.projector"):
        policy(folders["openvla_oft"], actions=(2500, 7))
    save_file({"weight": torch.eye(zoo.WIDTH)[:5]}, tmp_path / "map.safetensors")
    narrow = policy(folders["openvla_oft"], projector=str(tmp_path / "map.safetensors"))
    assert narrow.spec.latent_shape == (SLOTS, 5)


def test_what_system_2_cannot_give_it_is_said(tmp_path: Path) -> None:
    folder = checkpoints.save("openvla_oft", tmp_path)
    plain = policy(folder)
    checkpoints.beside(folder, "proprio_projector")
    with pytest.raises(RefusedError, match=r"Say it as s2\.options\.state"):
        policy(folder)
    assert policy(folder, proprio="skip").spec.latent_id == plain.spec.latent_id
    with pytest.raises(ConfigError, match="skip, or leave it out"):
        policy(folder, proprio="zeros")
    (folder / "dataset_statistics.json").write_text(
        json.dumps({"a": {"action": {"mean": [0] * 14}}})
    )
    with pytest.raises(ConfigError, match=r"\[25, 14\] for ALOHA"):
        policy(folder, proprio="skip")
    (folder / "dataset_statistics.json").write_text("{}")
    checkpoints.beside(folder, "noisy_action_projector")
    with pytest.raises(WeightsError, match="use_l1_regression"):
        policy(folder, proprio="skip")
    checkpoints.beside(folder, "vision_backbone")
    with pytest.raises(WeightsError, match="use_film False"):
        policy(folder, proprio="skip")


def test_an_adapter_by_itself_is_no_model(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "lora_adapter").mkdir()
    tensors = load_file(folders["openvla_oft"] / "model.safetensors")
    name = next(iter(tensors))
    save_file({name: tensors[name]}, tmp_path / "lora_adapter" / "adapter_model.safetensors")
    with pytest.raises(WeightsError, match="merge the two"):
        policy(tmp_path)
    with pytest.raises(ConfigError, match=r"are OpenVLA-OFT's"):
        policy(folders["openvla"])


def test_recorded_steps_say_the_same(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, but that the padded steps run unrecorded here."""
    plain = policy(folders["openvla_oft"], 2, strategy="fixed_interval", max_age_frames=2)
    monkeypatch.setattr(loading, "pack", lambda module: module)
    monkeypatch.setattr(loading, "load_trunk", lambda *given: GraphedTrunk(load_trunk(*given)))
    padded = policy(folders["openvla_oft"], 2, strategy="fixed_interval", max_age_frames=2)
    for pictures in film(2, 4):
        one, other = (made.step(seen(*pictures)).latent for made in (plain, padded))
        np.testing.assert_allclose(one, other, atol=4e-3)


def test_a_configuration_makes_it(folders: dict[str, Path]) -> None:
    given = S2(
        policy="vla",
        weights=str(folders["openvla_oft"]),
        cameras=CAMERAS,
        cache=Cache(strategy="vla_cache"),
        options={"dtype": "float32", "actions": list(ACTIONS), "proprio": "skip", "crop": 0.9},
    )
    made = build.s2_policy(given, PANDA)
    assert (made.spec.cameras, made.spec.latent_shape) == (CAMERAS, (SLOTS, zoo.WIDTH))
