"""Whole episodes in lockstep with the shipped weights: repeatable, judged, and told in pictures."""

import msgspec
import pytest
from tandem.runtime import config
from tandem.tools.evaluate.scenario import other_colour, scenario
from tandem.tools.evaluate.simulated import Stage


@pytest.fixture(scope="module")
def stage():
    stage = Stage(config.load("sim_panda"))
    yield stage
    stage.eye.close()


def test_an_episode_is_the_same_whatever_was_played_before(stage):
    scene = scenario(11, 0, "pick", "jump")
    first = stage.play(scene, scene.instruction).episode
    again = stage.play(scene, scene.instruction).episode
    assert msgspec.to_builtins(again) == msgspec.to_builtins(first)
    assert first.error is None
    assert first.phases["arm"].frames > 5
    assert [change.kind for change in first.changes][:1] == ["move"]
    assert 0 < first.macs < first.macs_full
    assert 0 < first.velocity_share < 1
    assert 0 < first.jerk_share < 1
    assert first.latency_ms
    assert first.latency_ms[0] > 60


def test_another_cube_named_is_no_success_and_leaves_a_picture(stage):
    scene = scenario(11, 1, "pick")
    played = stage.play(scene, scene.instruction.replace(scene.target, other_colour(scene, 4)))
    assert not played.episode.success
    assert played.picture.shape == (128, 128, 3)


def test_a_refused_instruction_is_told_and_not_raised(stage):
    scene = scenario(11, 2, "pick")
    played = stage.play(scene, "sing a song")
    assert played.episode.error
    assert not played.episode.success
