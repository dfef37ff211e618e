"""The data: what the folder promises, and the same from the same seeds however it was made."""

from pathlib import Path

import numpy as np
import pytest
from tandem.drivers.sim import scene
from tandem.tools.train import clips, data, labels
from tandem.tools.train.corpus import GAP_S, LEAD_STEPS, Demonstrated, Track
from tandem.tools.train.progress import Progress

AMOUNTS = data.Amounts(demos=5, clips=24, drawers=6, seed=1, processes=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "data"
    data.make(folder, AMOUNTS, Progress(quiet=True))
    return folder


def test_demonstrations_hold_together(folder: Path) -> None:
    demos = data.load(folder / "demos")
    count = len(demos["episode"])
    assert {len(v) for v in demos.values()} == {count}
    assert demos["images"].shape[1:] == (128, 128, 3)
    assert demos["images"].dtype == np.uint8
    assert demos["chunks"].shape == (count, labels.HORIZON, 8)
    assert (np.diff(demos["episode"]) >= 0).all()
    own = demos["cubes"][np.arange(count), demos["colour"].astype(int)]
    assert np.isfinite(own).all()
    inside = np.flatnonzero((np.diff(demos["episode"]) == 0) & demos["valid"][:-1])
    # The recorded action is the command one step later, and the imagined chunk begins with it.
    np.testing.assert_allclose(demos["actions"][inside, :7], demos["q_cmd"][inside + 1], atol=1e-5)
    np.testing.assert_allclose(demos["chunks"][:, 0], demos["actions"], atol=1e-5)
    for episode in np.unique(demos["episode"]):
        last = np.flatnonzero(demos["episode"] == episode)[-1]
        if demos["task"][last] == 0:
            assert demos["held"][last] == demos["colour"][last]
        else:
            away = np.abs(own[last, :2] - scene.BIN_CENTRE_M)
            assert (away < scene.BIN_HALF_M).all()


def test_clips_change_only_where_they_say(folder: Path) -> None:
    made = data.load(folder / "clips")
    assert made["images"].shape == (24, clips.FRAMES, 128, 128, 3)
    assert len(set(made["event"].tolist())) >= 3
    for i in range(24):
        cubes, frame = made["cubes"][i], int(made["event_frame"][i])
        free = np.array([c not in made["held"][i] for c in range(6)])
        there = np.isfinite(cubes[0, :, 0])
        calm = free & there & (np.arange(6) != made["event_colour"][i])
        np.testing.assert_allclose(cubes[:, calm] - cubes[:1, calm], 0.0, atol=1e-6)
        if made["event"][i] == clips.MOVED:
            colour = int(made["event_colour"][i])
            moved = np.linalg.norm(cubes[frame, colour] - cubes[frame - 1, colour])
            assert moved > 0.015
            assert np.ptp(cubes[frame:, colour], axis=0).max() < 1e-6
        if made["event"][i] == clips.NONE:
            assert frame == clips.FRAMES


def test_drawers_are_clips_in_which_only_a_drawer_moves(folder: Path) -> None:
    made = data.load(folder / "drawers")
    assert made.keys() == data.load(folder / "clips").keys() | {"drawer_m", "drawer_px"}
    slid = made["event"] == clips.DRAWER
    assert slid.any()
    for drawer_m, frame in zip(made["drawer_m"][slid], made["event_frame"][slid], strict=True):
        assert np.ptp(drawer_m[:frame]) == np.ptp(drawer_m[frame:]) == 0
        assert abs(drawer_m[frame] - drawer_m[frame - 1]) > 0.02
    assert not np.ptp(made["drawer_m"][~slid], axis=1).any()


def test_the_same_seeds_give_the_same_data_in_any_number_of_processes(
    folder: Path, tmp_path: Path
) -> None:
    amounts = data.Amounts(demos=5, clips=24, drawers=6, seed=1, processes=2)
    data.make(tmp_path / "again", amounts, Progress(quiet=True))
    for kind in ("demos", "clips", "drawers"):
        first, second = data.load(folder / kind), data.load(tmp_path / "again" / kind)
        assert first.keys() == second.keys()
        for name in first.keys() - {"images"}:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_samples_get_latents_of_the_age_that_they_say(folder: Path) -> None:
    """Latents here are the number of the step that S2 saw, so that ages can be checked exactly."""
    demos = data.load(folder / "demos")
    edges = np.flatnonzero(np.diff(demos["episode"], prepend=-1, append=-1))
    phases, parts = np.arange(len(edges) - 1) % 2, []
    for phase, length in zip(phases, np.diff(edges), strict=True):
        parts.append(np.arange(phase, length + LEAD_STEPS, 2) - LEAD_STEPS)
    last = np.cumsum([len(p) for p in parts]) - 1
    latent = np.concatenate(parts).astype(np.float16)[:, None]
    track = Track(latent, last - [len(p) for p in parts] + 1, last, phases, 2)
    cell = labels.cells_of(demos)
    corpus = Demonstrated(track, [cell], [demos["chunks"]], demos, np.ones(len(cell.q), bool))
    batch = corpus.draw(400, np.random.default_rng(0))
    assert len(batch.state) > 300
    row_of = {tuple(q): i for i, q in enumerate(corpus.states[:, :7].tolist())}
    rows = np.array([row_of[tuple(q)] for q in batch.state[:, :7].tolist()])
    step = rows - edges[np.searchsorted(edges, rows, side="right") - 1]
    np.testing.assert_allclose((step - batch.latent[:, 0]) * 0.05, batch.times[:, 0], atol=1e-5)
    assert batch.times[:, 0].min() >= 0.05 - 1e-6
    assert batch.times[:, 0].max() <= 0.65
    gap = (batch.latent[:, 0] - batch.before[:, 0]) * 0.05
    np.testing.assert_allclose(gap, batch.times[:, 1], atol=1e-5)
    assert np.median(gap) >= GAP_S
    for row, newest in zip(rows, batch.latent[:, 0], strict=True):
        unseen = demos["jumped"][row - int(step[rows == row][0] - newest) + 1 : row + 1]
        assert newest < 0 or not unseen.any()
