"""Learning to remember: what training is asked is what the policy sees, and the commands work."""

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from tandem.policies.memory import storage
from tandem.policies.memory.config import INTERVAL_LOOKS, MemoryConfig, Refresh
from tandem.policies.memory.model import MemoryModel
from tandem.policies.memory.policy import MemoryPolicy
from tandem.policies.memory.subgoals import INSTRUCTION, SUBGOALS
from tandem.tools import main
from tandem.tools.memory import gate, learn, train
from tandem.tools.memory.changes import ELSEWHERE, moved, standing
from tandem.tools.memory.record import Recording, record
from tandem.tools.memory.runs import WEIGHTS
from tandem.tools.train.progress import Progress

SMALL = MemoryConfig(stem=(4, 6), width=24, heads=4, squeeze=4)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(range(2), lambda done: None)


def test_a_recording_tells_the_story_of_its_episodes(recording: Recording) -> None:
    """Both cans are grasped, heated and put back; decisions are few, most of them are to wait."""
    assert len(np.unique(recording.episode)) == 2
    decided = [SUBGOALS[i] for i in recording.answer[recording.free]]
    assert {goal.verb for goal in decided} == {"wait", "grasp", "place"}
    ends = recording.cans[np.r_[recording.episode[1:] != recording.episode[:-1], True]]
    begins = recording.cans[np.r_[True, recording.episode[1:] != recording.episode[:-1]]]
    assert np.array_equal(begins, ends)
    assert (recording.cans[recording.holding] == ELSEWHERE).any()


def test_what_the_hand_carries_is_no_change_and_what_it_left_behind_is() -> None:
    start, lifted, lowered, put = [2, 5], [ELSEWHERE, 5], [7, 5], [7, 5]
    then = standing(np.array([start] * 4))
    now = standing(np.array([start, lifted, lowered, put]))
    changed, sure = moved(then, now, np.array([False, True, True, False]))
    assert changed.tolist() == [False, False, True, True]
    assert sure.tolist() == [True, True, False, True]
    fallen, _ = moved(then[:1], now[1:2], np.array([False]))
    assert fallen.all()


def test_the_gate_is_taught_light_and_cans(recording: Recording) -> None:
    """In an episode nothing is lit anew; of two episodes only what is certain counts."""
    looks = np.arange(len(recording))
    first = np.searchsorted(recording.episode, recording.episode)
    label, weight = gate.labels(recording, first, looks)
    assert not label[:, 0].any()
    assert weight[:, 0].all()
    assert 0.1 < label[:, 1].mean() < 0.9
    dark = replace(recording, light=recording.light * np.where(looks % 2, 0.7, 1.0))
    label, weight = gate.labels(dark, looks[:-1], looks[1:])
    assert (label == 1).all()
    assert (weight == 1).all()
    then, now = gate.pairs(recording, 4000, np.random.default_rng(0))
    same = recording.episode[then] == recording.episode[now]
    assert 0.6 < same.mean() < 0.9, "half of one episode, and half of the others by chance"


def test_the_gate_learns(recording: Recording) -> None:
    torch.manual_seed(0)
    model = MemoryModel(SMALL)
    features = learn.look(model, recording, lambda done: None).features
    steps: list[int] = []

    def count(done: int, note: str | None = None) -> None:
        steps.append(done)

    few = gate.learn_to_gate(model, recording, features, gate.GateBudget(4, 32), 0, count)
    many = gate.learn_to_gate(model, recording, features, gate.GateBudget(60, 32), 0, count)
    assert many < few
    assert len(steps) == 64
    scores = gate.judged(model, recording, features, 64)
    assert all(0 <= figure <= 1 for s in scores for figure in (s.precision, s.recall))


@pytest.mark.parametrize("refresh", get_args(Refresh))
def test_training_is_asked_exactly_what_the_policy_will_see(
    recording: Recording, refresh: Refresh
) -> None:
    torch.manual_seed(0)
    model = MemoryModel(replace(SMALL, refresh=refresh)).eval()
    with torch.no_grad():
        model.gate.heads.weight.mul_(30)  # untaught, it fires now and then
    looked = learn.look(model, recording, lambda done: None)
    given = learn.questions(model, recording, looked)
    rows = torch.arange(len(recording))
    for remembers in (True, False):
        cut = torch.full((len(rows),), not remembers)
        with torch.inference_mode():
            taught = learn.answer(model, given, rows, cut).softmax(-1).numpy()
        policy, was_free = MemoryPolicy(model, remembers), False
        for tick in range(len(recording)):
            if tick == 0 or recording.episode[tick] != recording.episode[tick - 1]:
                words = INSTRUCTION.format(recording.seconds[tick])
                policy.begin(words, np.random.default_rng(0))
                was_free = False
            free = bool(recording.free[tick])
            policy.see(recording.images[tick], float(recording.t_s[tick]), free and not was_free)
            was_free = free
            np.testing.assert_allclose(policy.chances(), taught[tick], atol=1e-5)


def test_both_stages_learn(recording: Recording) -> None:
    torch.manual_seed(0)
    model = MemoryModel(SMALL)
    few = learn.Budget(seeing=4, remembering=4, batch=16)
    many = learn.Budget(seeing=40, remembering=40, batch=16)
    steps: list[int] = []

    def count(done: int, note: str | None = None) -> None:
        steps.append(done)

    before = learn.learn_to_see(model, recording, few, count)
    assert learn.learn_to_see(model, recording, many, count) < before
    given = learn.questions(model, recording, learn.look(model, recording, count))
    before = learn.learn_to_remember(model, given, few, count)
    assert learn.learn_to_remember(model, given, many, count) < before
    assert 0 <= learn.agreement(model.eval(), given) <= 1


def test_training_writes_weights_that_the_policy_takes(
    recording: Recording, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(train, "record", lambda seeds, advance, look_s: recording)
    budget = learn.Budget(seeing=2, remembering=2, settling=2, batch=8)
    noticing = gate.GateBudget(steps=2, pairs=8)
    recipe = train.Recipe(episodes=2, held_out=1, budget=budget, gate=noticing, processes=1)
    notes = train.train(tmp_path, recipe, 0, Progress(quiet=True))
    assert set(notes["minutes"]) == {"data", "learning"}
    assert 0 <= notes["figures"]["agreement, held out"] <= 1
    MemoryPolicy(storage.load(tmp_path / WEIGHTS))


def test_the_command_judges_and_writes_what_it_found(tmp_path, capsys) -> None:
    found = tmp_path / "found.json"
    words = "eval memory --policy oracle --episodes 1 --seed 3 --jobs 1 --json"
    with pytest.raises(SystemExit) as ended:
        main.main([*words.split(), str(found)])
    assert ended.value.code == 0
    assert "where: back within" in capsys.readouterr().out
    data = json.loads(found.read_text())
    (run,) = data["runs"]
    assert (data["seed"], run["policy"]) == (3, "oracle")
    assert run["figures"]["what"] | {"ci95": 0} == {"value": 1, "ci95": 0, "reached": 1, "asked": 1}
    assert run["episodes"][0]["seconds"] in (3, 4, 5)


def test_shipped_weights_may_be_refreshed_on_an_interval(tmp_path) -> None:
    found = tmp_path / "memory.json"
    words = "eval memory --policy sdvla --refresh interval --episodes 1 --seed 3 --jobs 1 --json"
    with pytest.raises(SystemExit, match="0"):
        main.main([*words.split(), str(found)])
    data = json.loads(found.read_text())
    assert data["refresh"] == "interval"
    kept = data["runs"][0]["kept"]
    assert kept["refreshed_l1"] == 0
    assert kept["refreshed_l2"] == kept["looks"] // INTERVAL_LOOKS > 1


def test_missing_weights_are_told_before_anything_is_played(capsys) -> None:
    with pytest.raises(SystemExit):
        main.main(["eval", "memory", "--policy", "sdvla", "--weights", "/nowhere/none"])
    assert "tandem train memory" in capsys.readouterr().err
