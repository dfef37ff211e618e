"""A user's checkpoint as System 2: what the library would say, under every cache."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tandem.policies.caches.lac_networks import LacNetworks
from tandem.policies.trunk.graphs import GraphedTrunk
from tandem.policies.trunk.load import load_trunk
from tandem.policies.trunk.masks import causal
from tandem.policies.trunk.towers import load_vision
from tandem.policies.vla import loading
from tandem.policies.vla.make import make
from tandem.policies.vla.options import Options
from tandem.runtime.errors import RefusedError, WeightsError
from tandem.runtime.messages import Conditioning, decode, encode
from torch import Tensor

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints
from tests.policies.vla.checkpoints import policy, seen

SIDE = checkpoints.SIDE_PX
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
GREEN = "Pick up the GREEN cube"
ASKED = "In : What action should the robot take to pick up the {} cube ? Out : ▁"
RULES = ("fixed_interval", "vla_cache", "ttf", "lac", "dual_cache")


def assert_latent(out: Conditioning, hidden: Tensor) -> None:
    """Equal but for the rounding to float16."""
    zoo.assert_same(torch.from_numpy(out.latent).float(), hidden, 1e-3)


def openvla_says(folder: Path, image: np.ndarray, colour: str, readouts: int) -> Tensor:
    """The trunk over BOS, picture and words in one piece."""
    trunk, vision = load_trunk(folder), load_vision(folder)
    words = trunk.embed(torch.tensor(checkpoints.tokens("<s> " + ASKED.format(colour))))
    x = torch.cat([words[:1], vision.projector(vision.look(image)), words[1:]])[None]
    return trunk(x, torch.arange(x.shape[1]), causal(x.shape[1]))[0, -readouts:]


def library_says(kind: str, images: list[np.ndarray], numbers: list[int]) -> Tensor:
    """The library's hidden states, numbers with its own token for each patch."""
    model, ids = checkpoints.library(kind).model, checkpoints.as_tensor(numbers)
    pixels = torch.stack([checkpoints.pixels(torch.from_numpy(image)) for image in images])
    if kind == "smolvlm":
        return model(input_ids=ids, pixel_values=pixels[None]).last_hidden_state[0]
    both_ways = torch.zeros_like(ids)
    out = model(input_ids=ids, pixel_values=pixels, token_type_ids=both_ways)
    return out.last_hidden_state[0]


@torch.inference_mode()
@pytest.mark.parametrize("readouts", [1, 3])
def test_openvla_is_asked_as_it_was_trained(folders: dict[str, Path], readouts: int) -> None:
    made = policy(folders["openvla"], readouts=readouts)
    out = made.step(seen(IMAGES[0], seq=7))
    assert out.latent.shape == made.spec.latent_shape == (readouts, zoo.WIDTH)
    assert (out.frame_seq, out.t_capture_ns) == (7, 1007)
    assert_latent(out, openvla_says(folders["openvla"], IMAGES[0], "red", readouts))
    made.reset(GREEN)
    expected = openvla_says(folders["openvla"], IMAGES[1], "green", readouts)
    assert_latent(made.step(seen(IMAGES[1])), expected)


@torch.inference_mode()
@pytest.mark.parametrize("cameras", [1, 2])
def test_smolvlm_is_asked_as_it_was_trained(folders: dict[str, Path], cameras: int) -> None:
    """Words between pictures stand between them, wherever their rows are kept."""
    images = list(IMAGES[:cameras])
    fake = "<fake_token_around_image>"
    picture = [*checkpoints.tokens(f"{fake} <global-img>"), *[checkpoints.IMAGE] * 4]
    after = checkpoints.tokens(f"{fake} pick up the red cube <end_of_utterance> Assistant :")
    between = checkpoints.tokens(fake)
    numbers = checkpoints.tokens("<|im_start|> User :")
    numbers += [*picture, *between] * (cameras - 1) + picture + after
    made = policy(folders["smolvlm"], ("front", "wrist")[:cameras], readouts=2)
    out = made.step(seen(*images))
    assert_latent(out, library_says("smolvlm", images, numbers)[-2:])


@torch.inference_mode()
def test_paligemma_sees_its_prompt_both_ways(folders: dict[str, Path]) -> None:
    made = policy(folders["paligemma"], strategy="fixed_interval", max_age_frames=9)
    patches = [checkpoints.IMAGE] * 16
    for colour in ("red", "green"):  # the second one must not meet pictures that saw the first
        made.reset(f"pick up the {colour} cube")
        numbers = patches + checkpoints.tokens(f"<bos> pick up the {colour} cube")
        assert_latent(
            made.step(seen(IMAGES[0])), library_says("paligemma", [IMAGES[0]], numbers)[-1:]
        )


@pytest.mark.parametrize("kind", ["openvla", "smolvlm"])
@pytest.mark.parametrize("strategy", [*RULES, "sdvla"])
def test_on_identical_frames_every_cache_says_what_none_says(
    folders: dict[str, Path], tmp_path: Path, kind: str, strategy: str
) -> None:
    cameras = ("front", "wrist") if kind == "smolvlm" else ("front",)
    more: dict[str, object] = {}
    if strategy == "sdvla":
        more = {"partition": "motion", "static": 0.5}
    if strategy == "lac":
        torch.manual_seed(0)
        networks = LacNetworks(2 if kind == "smolvlm" else 4)
        save_file(networks.state_dict(), tmp_path / "lac.safetensors")
        more = {"lac_weights": str(tmp_path / "lac.safetensors")}
    none = policy(folders[kind], cameras)
    cached = policy(folders[kind], cameras, strategy=strategy, **more)
    first: np.ndarray | None = None
    for frame in range(3):
        whole, out = (p.step(seen(IMAGES[0], IMAGES[1], seq=frame)) for p in (none, cached))
        first = out.latent if first is None else first
        # Blocks of SD-VLA do not see each other as a stock trunk does: it agrees with itself.
        expected = first if strategy == "sdvla" else whole.latent
        np.testing.assert_allclose(out.latent, expected, atol=2e-3)
    assert whole.macs == whole.macs_full  # the first step has BOS besides
    assert out.version[0] <= whole.version[0] == 3
    # LAC fills its choice up to 16 rows, and there are no more.
    assert (out.gate[0] < 1) == (strategy not in ("ttf", "lac"))


def test_versions_rise_with_refreshes_and_ages_with_frames(folders: dict[str, Path]) -> None:
    made = policy(folders["openvla"], strategy="fixed_interval", max_age_frames=3)
    outs = [made.step(seen(IMAGES[i % 6], seq=i)) for i in range(7)]
    assert [out.version for out in outs] == [[1], [1], [1], [2], [2], [2], [3]]
    assert [out.age_frames for out in outs] == [[0], [1], [2], [0], [1], [2], [0]]
    assert [out.refreshed[0] for out in outs] == [True, False, False] * 2 + [True]
    assert [out.gate for out in outs[:2]] == [[1.0], [0.0]]
    assert outs[1].macs < outs[3].macs == outs[3].macs_full
    assert set(outs[0].timings_ns) == {"gate", "vision", "projector", "trunk", "readout"}


def test_sdvla_by_motion_refreshes_by_age(folders: dict[str, Path]) -> None:
    made = policy(
        folders["openvla"], strategy="sdvla", partition="motion", static=0.75, max_age_frames=4
    )
    outs = [made.step(seen(IMAGES[i % 6], seq=i)) for i in range(6)]
    assert [out.refreshed[0] for out in outs] == [True, False, False, False, True, False]
    assert [out.version[0] for out in outs] == [1, 1, 1, 1, 2, 2]
    made.reset(GREEN)  # costs one cached step
    assert made.step(seen(IMAGES[0], seq=6)).refreshed == [False]


def test_another_instruction_keeps_what_was_seen(folders: dict[str, Path]) -> None:
    made = policy(folders["openvla"], strategy="fixed_interval", max_age_frames=9)
    first = made.step(seen(IMAGES[0]))
    made.reset(GREEN)
    second = made.step(seen(IMAGES[0]))
    assert second.refreshed == [False]
    assert second.macs < first.macs
    assert_latent(second, openvla_says(folders["openvla"], IMAGES[0], "green", 1))
    assert np.abs(first.latent.astype(float) - second.latent).max() > 1e-3


def test_rehearsal_leaves_nothing_and_forgetting_starts_from_nothing(
    folders: dict[str, Path],
) -> None:
    made = make(
        Options(
            weights=str(folders["openvla"]),
            cameras=("front",),
            strategy="vla_cache",
            dtype="float32",
            device="cpu",
        )
    )
    with pytest.raises(RefusedError, match="no instruction"):
        made.step(seen(IMAGES[0]))
    made.reset(checkpoints.RED)
    first = made.step(seen(IMAGES[0]))
    assert (first.version, first.age_frames) == ([1], [0])
    made.step(seen(IMAGES[1]))
    made.forget()
    np.testing.assert_array_equal(made.step(seen(IMAGES[0])).latent, first.latent)


def test_in_bfloat16_and_over_the_wire(folders: dict[str, Path]) -> None:
    precise = policy(folders["smolvlm"]).step(seen(IMAGES[0]))
    rough = policy(folders["smolvlm"], dtype="bfloat16").step(seen(IMAGES[0]))
    back = decode(Conditioning, encode(rough)).latent
    np.testing.assert_array_equal(back, rough.latent)
    away = np.linalg.norm(back.astype(float) - precise.latent)
    assert away < 0.1 * np.linalg.norm(precise.latent.astype(float))


def test_pictures_of_any_size_are_resized(folders: dict[str, Path]) -> None:
    made = policy(folders["openvla"])
    large = np.kron(IMAGES[0], np.ones((2, 3, 1), np.uint8))
    assert np.isfinite(made.step(seen(large)).latent).all()


def test_only_the_middle_of_a_picture_is_looked_at_where_training_did_so(
    folders: dict[str, Path],
) -> None:
    made = policy(folders["openvla"], crop=0.25)
    framed = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    framed[SIDE // 2 : -SIDE // 2, SIDE // 2 : -SIDE // 2] = IMAGES[0]
    whole = policy(folders["openvla"])
    assert made.spec.latent_id != whole.spec.latent_id
    latents = [p.step(seen(i)).latent for p, i in ((made, framed), (whole, IMAGES[0]))]
    np.testing.assert_array_equal(*latents)


def test_a_learned_projector_makes_the_latent(folders: dict[str, Path], tmp_path: Path) -> None:
    plain = policy(folders["openvla"], readouts=2)
    file = tmp_path / "map.safetensors"
    save_file({"weight": torch.eye(zoo.WIDTH)[:5], "bias": torch.ones(5)}, file)
    made = policy(folders["openvla"], readouts=2, projector=str(file))
    assert made.spec.latent_shape == (2, 5)
    assert made.spec.latent_id != plain.spec.latent_id
    hidden, latent = (p.step(seen(IMAGES[0])).latent for p in (plain, made))
    np.testing.assert_allclose(latent, hidden[:, :5] + 1, atol=5e-3)
    save_file({"weight": torch.eye(7)}, file)
    with pytest.raises(WeightsError, match=r"weight` \[D, 32\]"):
        policy(folders["openvla"], projector=str(file))


def test_latent_id_names_weights_and_read_out_and_not_the_cache(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    def name(folder: Path = folders["openvla"], **options: object) -> str:
        return policy(folder, **options).spec.latent_id

    one = name()
    assert name(strategy="vla_cache") == name(dtype="bfloat16") == one
    others = {name(readouts=2), name(prompt="do {instruction}"), name(folders["smolvlm"])}
    copied = checkpoints.save("openvla", tmp_path / "copy")
    assert name(copied) == one
    tensors = load_file(copied / "model.safetensors")
    tensors["language_model.model.norm.weight"][3] += 1
    save_file(tensors, copied / "model.safetensors")
    assert len({one, *others, name(copied)}) == 5


@pytest.mark.parametrize("strategy", ["fixed_interval", "dual_cache"])
def test_recorded_steps_say_the_same(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """As on a GPU, but that the padded steps run unrecorded here."""
    plain = policy(folders["openvla"], strategy=strategy, max_age_frames=2)
    monkeypatch.setattr(loading, "pack", lambda module: module)
    monkeypatch.setattr(loading, "load_trunk", lambda *given: GraphedTrunk(load_trunk(*given)))
    padded = policy(folders["openvla"], strategy=strategy, max_age_frames=2)
    for frame in range(4):
        one, other = (made.step(seen(IMAGES[frame], seq=frame)).latent for made in (plain, padded))
        np.testing.assert_allclose(one, other, atol=2e-3)
