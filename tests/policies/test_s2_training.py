"""Training of System 2 on a tiny invented data set: labels are right, losses fall, seeds repeat."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.stream import Schedule
from tandem.runtime.errors import ConfigError
from tandem.tools.train import gate, gate_data, gate_eval, s2, s2_data, s2_eval, s2_losses
from tandem.tools.train.s2_camera import patches, pixels, projection

SMALL = S2Config(stem=(12, 24, 24), width=48, depth=2)
RGB = [(161, 19, 17), (19, 120, 35), (19, 53, 161), (183, 159, 16), (97, 32, 127), (181, 86, 11)]


def paint(cubes: np.ndarray, camera: np.ndarray, light: float = 1.0) -> np.ndarray:
    """A picture [128, 128, 3] with a coloured square where each cube must be."""
    image = np.full((128, 128, 3), (150, 128, 100), np.float32)
    for colour, position in enumerate(cubes):
        if np.isfinite(position[0]):
            u, v = pixels(camera, position).astype(int)
            image[max(v - 5, 0) : v + 5, max(u - 5, 0) : u + 5] = RGB[colour]
    return (image * light).clip(0, 255).astype(np.uint8)


def table(rng: np.random.Generator) -> np.ndarray:
    """Four cubes [6, 3] apart from each other."""
    cubes = np.full((6, 3), np.nan, np.float32)
    spots = rng.permutation(6)[:4]
    for place, colour in enumerate(rng.permutation(6)[:4]):
        column, row = spots[place] % 3, spots[place] // 3
        cubes[colour] = (0.42 + 0.12 * row, -0.14 + 0.14 * column, 0.021)
        cubes[colour, :2] += rng.uniform(-0.02, 0.02, 2)
    return cubes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    rng, camera = np.random.default_rng(0), projection()
    make_clips(root / "clips", rng, camera, 60)
    make_clips(root / "drawers", rng, camera, 2)
    make_demos(root / "demos", rng, camera, 8, 40)
    return root


def make_clips(folder: Path, rng: np.random.Generator, camera: np.ndarray, count: int) -> None:
    cubes = np.stack([np.stack([table(rng)] * 5) for _ in range(count)])
    event, at = rng.choice([0, 1, 4], count), rng.integers(1, 5, count)
    colour = np.full(count, -1)
    light = np.ones((count, 5))
    for n in range(count):
        if event[n] == 1:
            colour[n] = np.flatnonzero(np.isfinite(cubes[n, 0, :, 0]))[0]
            cubes[n, at[n] :, colour[n], :2] += 0.05
        if event[n] == 4:
            light[n, at[n] :] = 0.7
    arrays = {
        "images": np.stack(
            [
                [paint(c, camera, b) for c, b in zip(f, g, strict=True)]
                for f, g in zip(cubes, light, strict=True)
            ]
        ),
        "cubes": cubes, "event": event, "event_frame": np.where(event, at, 5),
        "event_colour": colour, "held": np.full((count, 5), -1),
    }  # fmt: skip
    save(folder, arrays)


def make_demos(
    folder: Path, rng: np.random.Generator, camera: np.ndarray, episodes: int, steps: int
) -> None:
    cubes = np.stack([np.stack([table(rng)] * steps) for _ in range(episodes)])
    colour = np.array([np.flatnonzero(np.isfinite(c[0, :, 0]))[0] for c in cubes])
    for n in range(episodes):
        cubes[n, steps // 2 :, colour[n], 1] += 0.06
    flat = cubes.reshape(-1, 6, 3)
    count = episodes * steps
    arrays = {
        "images": np.stack([paint(c, camera) for c in flat]),
        "cubes": flat, "held": np.full(count, -1), "episode": np.repeat(np.arange(episodes), steps),
        "colour": np.repeat(colour, steps), "task": np.zeros(count), "kind": np.zeros(count),
    }  # fmt: skip
    save(folder, arrays)


def save(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    folder.mkdir()
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)


def test_data_of_an_older_recipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    with pytest.raises(ConfigError, match="no drawers/; make it: tandem train --keep-data"):
        s2_data.split(tmp_path, 10, 1, 2)


def test_projection_puts_the_work_space_into_the_picture() -> None:
    corners = np.array([[x, y, 0.02] for x in (0.36, 0.62) for y in (-0.2, 0.2)])
    seen = pixels(projection(), corners)
    assert (seen > 0).all()
    assert (seen < 128).all()
    near, far = pixels(projection(), np.array([[0.62, 0, 0.02], [0.36, 0, 0.02]]))
    assert near[1] > far[1], "nearer to the camera is lower in the picture"
    right, left = pixels(projection(), np.array([[0.5, 0.2, 0.02], [0.5, -0.2, 0.02]]))
    assert right[0] > left[0]


def test_patches_of_what_is_not_there_are_minus_one() -> None:
    points = np.array([[0.5, 0, 0.02], [np.nan] * 3, [0.5, 9.0, 0.02]])
    found = patches(projection(), points)
    assert 0 <= found[0] < 64
    assert found[1:].tolist() == [-1, -1]


def test_what_moved_came_or_went() -> None:
    then = np.full((1, 6, 3), np.nan)
    then[0, :3] = 0.5
    now = then.copy()
    now[0, 0, 0] += 0.02
    now[0, 1] = np.nan
    now[0, 3] = 0.4
    assert s2_data.moved_cubes(then, now, 0.01)[0].tolist() == [
        True,
        True,
        False,
        True,
        False,
        False,
    ]


def test_statics_stay_stale_in_half_of_the_changed_pairs() -> None:
    rng = np.random.default_rng(0)
    changed = np.zeros((20_000, 2), bool)
    changed[:, 1] = np.arange(20_000) % 2 == 0
    fresh = s2_data.draw_fresh(rng, changed, s2_data.Tuning())
    assert abs(fresh[changed[:, 1], 1].mean() - 0.5) < 0.02
    assert not (fresh[:, 0] & ~fresh[:, 1]).any(), "a fresh L1 has a fresh L2"


def test_right_candidates_show_the_cube_where_it_is_now(folder: Path) -> None:
    clips = s2_data.Clips(folder / "clips", slice(None))
    moved = np.flatnonzero(clips.event == 1)[:8]
    i, j = np.zeros(len(moved), int), np.full(len(moved), 4)
    pairs = clips.pairs(moved, i, j, np.random.default_rng(0), s2_data.Tuning(stale_changed=1.0))
    assert (pairs.colours[:, 0] == clips.colour[moved]).all(), "what moved is asked for first"
    every = np.broadcast_to(np.arange(16), (len(moved), 16))
    labels = s2_losses.label(pairs, every)
    assert not labels.right[:, 0, :64].any(), "the old place is not where the cube is"
    now = s2_data.cube_patches(pairs.cubes_now)[np.arange(len(moved)), clips.colour[moved]]
    seen = labels.right[:, 0, 64:].nonzero()
    for row, candidate in seen.tolist():
        assert every[row, candidate] == now[row]


def test_losses_fall_and_the_seed_repeats(folder: Path) -> None:
    def losses(steps: int) -> list[float]:
        trained, _ = s2_data.split(folder, 10, 1, 2)
        budget = s2.Budget(iterations=16, clips=6, demos=4, warm_up=4, threads=1)
        trainer = s2.Trainer(trained.clips, trained.demos, budget, SMALL)
        return [sum(trainer.step(i).values()) for i in range(steps)]

    fell = losses(16)
    assert losses(5) == fell[:5]
    assert sum(fell[-3:]) / 3 < 0.8 * fell[0]


def test_the_latent_is_normalised_and_judged(folder: Path) -> None:
    trained, held = s2_data.split(folder, 50, 1, 2)
    budget = s2.Budget(clips=8, demos=8, threads=1)
    trainer = s2.Trainer(trained.clips, trained.demos, budget, SMALL)
    s2.fit_latent(trainer.model, trainer.pairs, 3)
    pairs = trainer.pairs()[0]
    with torch.inference_mode():
        forward = s2.through(trainer.model, *s2.features(trainer.model, pairs, None), pairs)
        latent = trainer.model.readout.normalised(forward.output.raw)
    assert latent.shape[-2:] == (2, 64)
    assert latent.abs().max() < 8.01
    assert latent.std() < 3
    errors = s2_eval.pointing(trainer.model, held.clips, held.demos, 50)
    assert errors["clips: fresh"].count > 0
    assert "mm" in str(errors["clips: fresh"])
    assert set(s2_eval.language(trainer.model, held.clips, 10)) == {"task", "cube"}


@pytest.fixture(scope="module")
def described(
    folder: Path,
) -> tuple[S2Model, gate_data.Frames, gate_data.DemoFrames, s2_data.Clips]:
    torch.manual_seed(0)
    model = S2Model(SMALL).eval().requires_grad_(False)
    trained, _ = s2_data.split(folder, 10, 1, 2)
    clips, demos = trained.clips, trained.demos
    frames = gate_data.clip_frames(model, clips, len(clips))
    return model, frames, gate_data.demo_frames(model, demos, demos.episodes), clips


def test_labels_of_change(described: tuple) -> None:
    _, frames, _, clips = described
    for kind, expected in ((0, [0, 0]), (1, [0, 1]), (4, [1, 1])):
        chosen = np.flatnonzero(clips.event == kind)
        found = gate_data.changes(frames, chosen * 5, frames, chosen * 5 + 4)
        assert (found.label[found.weight.min(1) > 0] == expected).all()
        assert found.weight.mean() > 0.7


def test_a_cube_in_the_hand_is_no_change_and_a_hidden_one_is_left_out(described: tuple) -> None:
    _, frames, _, clips = described
    chosen = int(np.flatnonzero(clips.event == 1)[0])
    then, now = np.array([chosen * 5]), np.array([chosen * 5 + 4])
    frames.in_hand[now, clips.colour[chosen]] = True
    assert gate_data.changes(frames, then, frames, now).label.tolist() == [[0, 0]]
    frames.in_hand[now] = False
    for hidden in (now, then):
        frames.visible[hidden, clips.colour[chosen]] = False
        weight = gate_data.changes(frames, then, frames, now).weight.tolist()
        # Hidden now, its old place is still seen to be bare; hidden then, nobody could tell.
        assert weight == ([[1, 1]] if hidden is now else [[1, 0]])
        frames.visible[hidden, clips.colour[chosen]] = True


@pytest.mark.parametrize(
    "terms", [("events", "prior"), ("task", "prior"), ("regret",), ("events", "regret")]
)
def test_every_choice_of_terms_trains(described: tuple, terms: tuple[str, ...]) -> None:
    model, frames, demos, _ = described
    before = model.trunk.norm.bias.clone()
    budget = gate.GateBudget(iterations=3, clips=4, demos=4, terms=terms, threads=1)
    weight = model.gate.heads.weight.clone()
    gate.train(model, frames, demos, budget, lambda *_: None)
    assert not torch.equal(model.gate.heads.weight, weight)
    torch.testing.assert_close(model.trunk.norm.bias, before)
    with pytest.raises(ValueError, match="unknown terms"):
        gate.train(model, frames, demos, gate.GateBudget(terms=("luck",)), lambda *_: None)


def test_the_gate_learns_and_is_judged(described: tuple) -> None:
    model, frames, demos, clips = described
    budget = gate.GateBudget(iterations=300, clips=64, demos=64, threads=1)
    gate.train(model, frames, demos, budget, lambda *_: None)
    judged = gate_eval.judge(model, clips, frames)
    assert judged.levels()[1].recall > 0.8
    assert judged.rates()["arm only"][1] < 0.2
    assert gate_eval.calibrate(model, demos, wanted=0.0) == 0.5, "nothing asked, nothing shifted"
    before = model.gate.heads.bias[1].item()
    lowest = gate_eval.calibrate(model, demos, wanted=1.1)
    assert model.gate.heads.bias[1].item() - before == pytest.approx(np.log(1 / lowest - 1))
    with torch.no_grad():
        model.gate.heads.bias[1] = before
    streamed = gate_eval.in_stream(model, demos, Schedule())
    assert streamed.changes == len(np.unique(demos.start))
    assert streamed.answered > 0.8
    assert "visible changes" in str(streamed)
