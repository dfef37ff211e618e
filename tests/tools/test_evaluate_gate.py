"""The gate's judgement, on a few fresh clips: what it counts, and that a bad gate is found out."""

import json
from pathlib import Path

import numpy as np
import pytest
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.storage import load_model
from tandem.runtime.errors import ConfigError
from tandem.tools.evaluate import gate
from tandem.tools.train import gate_data, gate_eval
from tandem.tools.train.s2_data import DRAWER, Clips

COUNT = 16


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[S2Model, Clips, gate_data.Frames]:
    folder: Path = tmp_path_factory.mktemp("clips")
    gate.film(folder, COUNT, seed=5, tell=lambda done: None)
    clips, model = Clips(folder, slice(None)), load_model("pick_s2")
    return model, clips, gate_data.clip_frames(model, clips, COUNT)


def test_every_pair_is_of_one_kind_and_the_shipped_gate_knows_them(made):
    model, clips, frames = made
    assert clips.images.shape == (COUNT, 5, 128, 128, 3)
    judged = gate_eval.judge(model, clips, frames)
    kinds = judged.rates()
    assert tuple(kinds) == tuple(kind for kind in gate_eval.KINDS if kind != "drawer")
    assert kinds["nothing"] == (0, 0, 5 * COUNT)
    assert 0 < sum(pairs for _, _, pairs in kinds.values()) <= 25 * COUNT
    assert min(score.f1 for score in judged.levels()) > 0.8


@pytest.mark.parametrize(("bias", "figure"), [(20.0, "precision"), (-20.0, "recall")])
def test_a_gate_that_does_not_look_is_found_out(made, bias, figure):
    _, clips, frames = made
    stuck = load_model("pick_s2")
    stuck.gate.heads.bias.data.fill_(bias)
    judged = gate_eval.judge(stuck, clips, frames)
    assert max(getattr(score, figure) for score in judged.levels()) < 0.6
    assert judged.rates()["nothing"][:2] == ((1, 1) if bias > 0 else (0, 0))


def test_the_same_seed_films_the_same_scenes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        gate.film(tmp_path / name, 1, seed=9, tell=lambda done: None)
    a, b = (np.load(tmp_path / name / "images.npy") for name in ("a", "b"))
    np.testing.assert_array_equal(a, b)


def test_the_command_writes_what_it_shows(tmp_path, capsys):
    words = ["--clips", "2", "--seed", "3", "--json", str(tmp_path / "gate.json")]
    gate.app(args=words, standalone_mode=False)
    found = json.loads((tmp_path / "gate.json").read_text())
    assert (found["clips"], found["seed"], found["thresholds"]) == (2, 3, [0.5, 0.5])
    assert set(found["levels"]) == {"L1", "L2"}
    assert found["fires"]["nothing"]["pairs"] == 10
    assert found["drawer"]["fires"]["nothing"]["pairs"] == 5
    shown = capsys.readouterr().out
    kinds = (*found["kinds"], *found["fires"], *found["drawer"]["kinds"])
    for word in ("precision", "recall", "f1", "beside a drawer", *kinds):
        assert word in shown
    with pytest.raises(ConfigError, match="no such folder"):
        gate.app(args=["--json", str(tmp_path / "nowhere" / "x.json")], standalone_mode=False)


@pytest.fixture(scope="module")
def drawers(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    folder: Path = tmp_path_factory.mktemp("drawers")
    gate.film(folder, COUNT, seed=5, tell=lambda done: None, with_drawer=True)
    return Clips(folder, slice(None))


def test_a_drawer_is_a_change_of_the_second_level_where_pictures_show_it(made, drawers):
    model, *_ = made
    frames = gate_data.clip_frames(model, drawers, COUNT)
    slid = drawers.event == DRAWER
    assert 0 < slid.sum() < COUNT
    assert (np.ptp(drawers.drawer_m, axis=1) > 0.02).tolist() == slid.tolist()
    first, last = np.flatnonzero(slid) * 5, np.flatnonzero(slid) * 5 + 4
    frames.drawer_px[:] = 100
    found = gate_data.changes(frames, first, frames, last)
    assert (found.label[found.weight[:, 1] > 0] == [0, 1]).all()
    frames.drawer_px[last] = 0  # behind the arm
    hidden = gate_data.changes(frames, first, frames, last)
    assert hidden.label[:, 1].sum() + hidden.weight[:, 1].sum() < len(first)


def test_each_kind_is_scored_as_if_there_were_no_other():
    kind = np.array(["moved"] * 8 + ["light"] * 4 + ["arm only"] * 4)
    label = np.array([[0, 1]] * 8 + [[1, 1]] * 4 + [[0, 0]] * 4, bool)
    fires = label.copy()
    fires[:4, 1] = False  # half of the moves are missed
    fires[-2:, 1] = True  # and two false alarms
    judged = gate_eval.Judged(kind, fires, label, np.ones_like(label))
    kinds, (_, second) = judged.kinds(), judged.levels()
    assert (second.precision, second.recall, second.count) == (8 / 10, 8 / 12, 12)
    assert kinds["light"] == gate_eval.Score(1.0, 1.0, 4)
    assert kinds["moved"] == gate_eval.Score(6 / 8, 0.5, 8)
    assert judged.rates()["arm only"] == (0.0, 0.5, 4)
