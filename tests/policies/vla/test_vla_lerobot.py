"""LeRobot's SmolVLA and GR00T N1.5 as System 2: what they compute there, under every cache."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tandem.policies.trunk.load import load_trunk
from tandem.policies.trunk.towers import load_vision
from tandem.policies.vla.policy import Vla
from tandem.runtime.errors import WeightsError
from torch import Tensor

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints, lerobots
from tests.policies.vla.checkpoints import seen

SIDE = lerobots.SIDE_PX
IMAGES = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
GREEN = "pick up the robot's green cube"
READOUTS = 8
EXACT = {"readouts": READOUTS, "text_tokens": 80}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("lerobot")
    return {kind: lerobots.save(kind, base / kind) for kind in lerobots.KINDS}


def policy(folder: Path, cameras: int = 1, **given: object) -> Vla:
    return checkpoints.policy(folder, ("front", "wrist")[:cameras], **EXACT | given)


def theirs(kind: str, images: list[np.ndarray], instruction: str = checkpoints.RED) -> Tensor:
    """Of the last rows that are read out."""
    if kind == "smolvla":
        return lerobots.smolvla_says(images, instruction)[-READOUTS:]
    asked = str([instruction]) if kind == "groot" else instruction
    return lerobots.eagle_says(images, asked)[-READOUTS:]


def hidden(made: Vla, *images: np.ndarray) -> Tensor:
    """Before a latent is rounded to float16."""
    looked = made._mind.look(made._eyes.seen(images), 0)
    return looked.hidden


@torch.inference_mode()
@pytest.mark.parametrize("cameras", [1, 2])
@pytest.mark.parametrize("kind", lerobots.KINDS)
def test_prefill_and_cached_steps_are_the_librarys(
    folders: dict[str, Path], kind: str, cameras: int
) -> None:
    made = policy(folders[kind], cameras, strategy="fixed_interval", max_age_frames=9)
    images = list(IMAGES[:cameras])
    for _ in range(2):  # whole, then with every picture's row kept
        zoo.assert_same(hidden(made, *images), theirs(kind, images))
    made.reset(GREEN)
    zoo.assert_same(hidden(made, *images), theirs(kind, images, GREEN))


@torch.inference_mode()
@pytest.mark.parametrize("kind", lerobots.KINDS)
def test_without_a_cache_every_frame_is_the_librarys(folders: dict[str, Path], kind: str) -> None:
    made = policy(folders[kind])
    for image in IMAGES[:3]:
        zoo.assert_same(hidden(made, image), theirs(kind, [image]))


@torch.inference_mode()
@pytest.mark.parametrize("kind", lerobots.KINDS)
def test_vla_cache_and_sdvla_by_motion_on_identical_frames(
    folders: dict[str, Path], kind: str
) -> None:
    rival = policy(folders[kind], strategy="vla_cache")
    motion = policy(folders[kind], strategy="sdvla", partition="motion", static=0.5)
    first = hidden(motion, IMAGES[0])
    for _ in range(3):
        zoo.assert_same(hidden(rival, IMAGES[0]), theirs(kind, [IMAGES[0]]))
        # Blocks do not see each other as a stock trunk does: it agrees with itself.
        zoo.assert_same(hidden(motion, IMAGES[0]), first)
    cached = motion.step(seen(IMAGES[1]))
    assert cached.macs < cached.macs_full


def test_latents_of_lerobots_and_isaacs_groot_are_two_things(folders: dict[str, Path]) -> None:
    ids = {policy(folders[kind]).spec.latent_id for kind in lerobots.EAGLE}
    assert len(ids) == 2


@torch.inference_mode()
def test_pictures_are_fitted_as_each_was_trained(folders: dict[str, Path]) -> None:
    wide = np.full((SIDE, 2 * SIDE, 3), 255, np.uint8)
    fitted = {kind: load_vision(folders[kind]).fit(wide, SIDE) for kind in folders}
    assert (fitted["smolvla"].mean(axis=(1, 2)) == np.repeat([0.0, 255.0], SIDE // 2)).all()
    assert fitted["groot"].min() == fitted["gr00t_n1_5"].min() == 255
    ramp = np.add.outer(np.arange(100), np.arange(90))[..., None].repeat(3, -1).astype(np.uint8)
    ways = [load_vision(folders[kind]).fit(ramp, SIDE) for kind in lerobots.EAGLE]
    assert (ways[0] != ways[1]).any()


@pytest.mark.parametrize(
    ("kind", "all_of_them"),
    [("smolvla", {"num_vlm_layers": -1}), ("groot", {"backbone_cfg": {"select_layer": -1}})],
)
def test_layers_that_a_configuration_leaves_out_are_left_out(
    tmp_path: Path, kind: str, all_of_them: dict
) -> None:
    folder = lerobots.save(kind, tmp_path / "c")
    assert load_trunk(folder).config.depth == lerobots.KEPT
    _edit(folder, **all_of_them)
    assert load_trunk(folder).config.depth == zoo.SIZES["num_hidden_layers"]


@torch.inference_mode()
def test_names_of_groots_tower_as_newer_libraries_save_it(tmp_path: Path) -> None:
    folder = lerobots.save("groot", tmp_path / "c")
    before = load_vision(folder).look(IMAGES[0])
    config = json.loads((folder / "config.json").read_text())
    tensors = zoo.read(folder).items()
    zoo.write({n.replace(".vision_model.vision", ".vision"): t for n, t in tensors}, config, folder)
    assert load_vision(folder).look(IMAGES[0]).equal(before)


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("smolvla", {"add_image_special_tokens": True}, "Train with it off"),
        ("smolvla", {"resize_imgs_with_padding": [224, 224]}, r"train with \[56, 56\]"),
        ("smolvla", {"resize_imgs_with_padding": None}, "made for 56"),
        ("groot", {"type": "xvla"}, "'xvla', for which no prompt is known"),
    ],
)
def test_what_is_not_computed_is_refused_with_advice(
    tmp_path: Path, kind: str, change: dict, says: str
) -> None:
    folder = lerobots.save(kind, tmp_path / "c")
    _edit(folder, **change)
    with pytest.raises(WeightsError, match=says):
        policy(folder)


def test_a_projector_of_two_layers_is_refused(tmp_path: Path) -> None:
    folder = lerobots.save("groot", tmp_path / "c")
    tensors = zoo.read(folder)
    tensors[f"{lerobots.EAGLE['groot']}mlp1.0.weight"] = torch.ones(32)  # a norm
    zoo.write(tensors, json.loads((folder / "config.json").read_text()), folder)
    with pytest.raises(WeightsError, match="mlp_connector_layers 1"):
        load_vision(folder)


def test_later_groots_are_refused(tmp_path: Path) -> None:
    """LeRobot's config.json says groot of them all."""
    zoo.write({"_groot_model.backbone.model.x": torch.zeros(1)}, {"type": "groot"}, tmp_path)
    with pytest.raises(WeightsError, match=r"no GR00T N1\.5"):
        policy(tmp_path)


def test_a_tokenizer_in_parts_is_told_how_to_become_one(tmp_path: Path) -> None:
    """As lerobot/eagle2hg-processor-groot-n1p5 has it."""
    folder = lerobots.save("groot", tmp_path / "c")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"groot-n1p5 into .* AutoTokenizer\.from_pretrained"):
        policy(folder)


def _edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
