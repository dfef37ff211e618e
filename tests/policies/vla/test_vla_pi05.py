"""π0.5 as System 2: its prompt holds the arm's state in words, other ones in every frame.

The yardstick is transformers' PaliGemma over the whole prompt, and, where a cache keeps rows, its
layers with the same rows kept. States are such that prompts grow and shrink from frame to frame.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tandem.policies.trunk.towers import load_vision
from tandem.policies.vla.policy import Vla
from tandem.runtime.errors import ConfigError, RefusedError
from torch import Tensor

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints
from tests.policies.vla.checkpoints import arm_state, seen
from tests.policies.vla.conftest import Said
from tests.policies.vla.library import Layers
from tests.policies.vla.ofts import CAMERAS, PATCHES, film
from tests.policies.vla.pis import (
    HIGH,
    LEROBOT,
    LOW,
    OPENPI,
    STATE,
    normalise,
    paligemma,
    save,
    tokens,
)

READOUTS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As LeRobot saves it, with its normaliser's numbers beside it."""
    made = save(tmp_path_factory.mktemp("pi05") / "c", LEROBOT, {"type": "pi05"})
    normalise(made, q01=LOW, q99=HIGH)
    return made


def policy(folder: Path, cameras: int = 1, **more: object) -> Vla:
    given: dict[str, object] = {"state": STATE, "readouts": READOUTS, "text_tokens": None} | more
    return checkpoints.policy(folder, CAMERAS[:cameras], **given)


def whole(images: list[np.ndarray], numbers: list[int]) -> Tensor:
    """The library's hidden states, of the rows that are read."""
    ids = checkpoints.as_tensor([checkpoints.IMAGE] * PATCHES * len(images) + numbers)
    pixels = torch.stack([checkpoints.pixels(torch.from_numpy(image)) for image in images])
    both_ways = torch.zeros_like(ids)
    out = paligemma().model(input_ids=ids, pixel_values=pixels, token_type_ids=both_ways)
    return out.last_hidden_state[0, -READOUTS:]


def embedded(numbers: list[int]) -> Tensor:
    """Scaled, as the library does it there."""
    return paligemma().model.language_model.embed_tokens(torch.tensor(numbers))


@torch.inference_mode()
@pytest.mark.parametrize("cameras", [1, 2])
def test_every_frame_is_told_its_state(folder: Path, said: Said, cameras: int) -> None:
    made = policy(folder, cameras)
    assert made.spec.wants_state
    lengths = set()
    for frame, pictures in enumerate(film(cameras, 4)):
        state = arm_state(frame)
        made.step(seen(*pictures, state=state))
        numbers = tokens(state)
        lengths.add(len(numbers))
        zoo.assert_same(said[-1][1].hidden, whole(pictures, numbers))
    assert len(lengths) > 1
    green = "pick up the green cube"
    made.reset("pick_up the\ngreen cube ")
    made.step(seen(*pictures, state=state))
    zoo.assert_same(said[-1][1].hidden, whole(pictures, tokens(state, green)))


@torch.inference_mode()
@pytest.mark.parametrize("strategy", ["fixed_interval", "vla_cache", "ttf", "dual_cache"])
def test_a_cached_step_is_the_librarys_with_the_same_pictures_kept(
    folder: Path, said: Said, strategy: str
) -> None:
    """Of the words nothing is kept: not of the state before, and not of a longer prompt."""
    made = policy(folder, 2, strategy=strategy, max_age_frames=3)
    visual = 2 * PATCHES
    projector = load_vision(folder).projector
    library = Layers(paligemma().model.language_model, visual + 200)
    x = torch.zeros(visual + 200, zoo.WIDTH)
    del said[:]  # the rehearsal
    for frame, pictures in enumerate(film(2, 5)):
        state = arm_state(frame)
        made.step(seen(*pictures, state=state))
        layout, reading = said[-1]
        first, plan = -layout.visual_rows.start, reading.plan
        words = embedded(tokens(state))
        end = visual + len(words)
        x[plan.rows + first], x[visual:end] = projector(plan.features), words
        places = torch.cat([plan.rows + first, torch.arange(visual, end)])
        leave = {layer: rows + first for layer, rows in plan.leave.items()}
        sight = (torch.arange(len(x)) < end).expand(len(places), -1)
        hidden = library.step(x[places], places, leave, sight)
        zoo.assert_same(reading.hidden, hidden[-READOUTS:])
    computed = [sum(reading.work.trunk) for _, reading in said]
    assert (min(computed) < computed[0]) == (strategy != "ttf")


@torch.inference_mode()
def test_sdvla_keeps_nothing_of_a_state(folder: Path, said: Said) -> None:
    """A cached step equals one whole forward in which static rows see nothing but themselves."""
    made = policy(folder, strategy="sdvla", partition="motion", static=0.75, max_age_frames=4)
    static = round(0.75 * PATCHES)
    vision, kept = load_vision(folder), torch.zeros(0)
    for frame, (shown,) in enumerate(film(1)):
        state = arm_state(frame)
        made.step(seen(shown, seq=frame, state=state))
        now = vision.projector(vision.look(shown))
        kept = now[:static] if frame in (0, 4) else kept
        x = torch.cat([kept, now[static:], embedded(tokens(state))])
        sight = torch.ones(len(x), len(x), dtype=torch.bool)
        sight[:static, static:] = False
        library = Layers(paligemma().model.language_model, len(x))
        hidden = library.step(x, torch.arange(len(x)), {}, sight)
        zoo.assert_same(said[-1][1].hidden, hidden[-READOUTS:])


@torch.inference_mode()
def test_openpis_own_folder_says_the_same(folder: Path, tmp_path: Path, said: Said) -> None:
    """Its config.json names nothing; its statistics lie under the name of a data set."""
    config = {"action_dim": 32, "paligemma_variant": "gemma_2b"}
    other = save(tmp_path / "c", OPENPI, config)
    padding = [1e-10] * 24
    stats = {"q01": [*LOW, *padding], "q99": [*HIGH, *padding]}
    for name in ("droid", "trossen"):
        file = other / "assets" / name / "norm_stats.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"norm_stats": {"state": stats, "actions": {}}}))
    with pytest.raises(ConfigError, match="statistics of droid, trossen"):
        policy(other, family="pi05")
    made = policy(other, family="pi05", state={"parts": STATE, "dataset": "droid"})
    ((picture,),) = film(1, 1)
    made.step(seen(picture, state=arm_state(2)))
    zoo.assert_same(said[-1][1].hidden, whole([picture], tokens(arm_state(2))))


@pytest.mark.parametrize(
    ("mode", "stats"),
    [
        ("MIN_MAX", {"min": LOW, "max": HIGH}),
        ("MEAN_STD", {"mean": (LOW + HIGH) / 2, "std": (HIGH - LOW) / 2}),
        ("QUANTILE10", {"q10": LOW, "q90": HIGH, "q01": LOW - 1, "q99": HIGH + 1}),
    ],
)
@torch.inference_mode()
def test_lerobots_other_ways_tonormalise(
    tmp_path: Path, said: Said, mode: str, stats: dict[str, np.ndarray]
) -> None:
    config = {"type": "pi05", "normalization_mapping": {"STATE": mode}}
    made = save(tmp_path / "c", LEROBOT, config)
    normalise(made, **stats)
    ((picture,),) = film(1, 1)
    policy(made).step(seen(picture, state=arm_state(1)))
    zoo.assert_same(said[-1][1].hidden, whole([picture], tokens(arm_state(1))))


def test_what_it_is_told_must_be_said_and_fit(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"Say it as s2\.options\.state"):
        policy(folder, state="")
    with pytest.raises(ConfigError, match=r"7 numbers .* trained with 8"):
        policy(folder, state="q")
    with pytest.raises(RefusedError, match="room for 60; say it shorter, or raise"):
        policy(folder, text_tokens=60)
    assert not policy(folder, family="pi0", state="", readouts=1).spec.wants_state
    without = policy(folder, state="", prompt="Task: {instruction};\nAction: ")
    assert not without.spec.wants_state
    bare = save(tmp_path / "c", LEROBOT, {"type": "pi05"})
    with pytest.raises(ConfigError, match=r"has no statistics .* outright"):
        policy(bare)
    outright = {"parts": STATE, "range": [LOW.tolist(), HIGH.tolist()]}
    assert policy(bare, state=outright).spec.wants_state
