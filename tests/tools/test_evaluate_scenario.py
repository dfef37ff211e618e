"""The same number is the same episode, with or without a disturbance."""

import numpy as np
import pytest
from tandem.drivers.sim import scene
from tandem.drivers.sim.disturb import disturb
from tandem.drivers.sim.world import World
from tandem.policies.s2.text import check
from tandem.tools.evaluate.scenario import JUMP_M, SLIDE_M_S, other_colour, scenario

_KINDS = ("jump", "slide", "light", "appear", "vanish", "shuffle", "shuffle_light")


@pytest.mark.parametrize("task", ["pick", "bin"])
def test_episodes_repeat_and_the_policy_knows_the_words(task):
    episodes = [scenario(4, index, task) for index in range(30)]
    assert episodes == [scenario(4, index, task) for index in range(30)]
    assert len({e.instruction for e in episodes}) > 10
    for episode in episodes:
        assert episode.target in check(episode.instruction)
        assert episode.target in scene.random_layout(episode.seed, 4).cubes
        assert other_colour(episode, 4) != episode.target


@pytest.mark.parametrize("kind", _KINDS)
def test_a_disturbance_changes_neither_scene_nor_words(kind):
    plain, disturbed = scenario(4, 7, "pick"), scenario(4, 7, "pick", kind)
    assert (plain.seed, plain.instruction) == (disturbed.seed, disturbed.instruction)
    assert kind.removesuffix("_light") == disturbed.disturbance.kind
    assert plain.disturbance is None


@pytest.mark.parametrize("kind", _KINDS)
def test_the_simulator_takes_every_disturbance(kind):
    world = World()
    for index in range(20):
        episode = scenario(1, index, "pick", kind)
        world.reset(episode.seed)
        before = world.truth()
        disturb(world, episode.disturbance.kind, **episode.disturbance.arguments)
        assert world.truth() != before or kind == "slide"
    world.close()


def test_a_swept_table_has_every_cube_elsewhere_and_apart():
    for index in range(50):
        episode = scenario(2, index, "pick", "shuffle", cubes=4 + index % 3)
        before = scene.random_layout(episode.seed, 4 + index % 3).cubes
        places = episode.disturbance.arguments["places"]
        assert places.keys() == before.keys()
        now, then = (np.array([p[c][:2] for c in before]) for p in (places, before))
        gaps = np.linalg.norm(now[:, None] - now[None], axis=-1) + np.eye(len(now))
        assert min(gaps.min(), np.linalg.norm(now - then, axis=1).min()) > scene.SPACING_M
        (x0, x1), (y0, y1) = scene.X_RANGE_M, scene.Y_RANGE_M
        assert (now >= (x0, y0)).all()
        assert (now <= (x1, y1)).all()


def test_jumps_and_slides_are_as_far_as_they_say():
    for index in range(50):
        episode = scenario(2, index, "pick", "jump")
        layout = scene.random_layout(episode.seed, 4)
        moved = np.abs(
            np.subtract(episode.disturbance.arguments["to_m"], layout.cubes[episode.target][:2])
        )
        assert moved.max() >= JUMP_M / 2
        velocity = scenario(2, index, "pick", "slide").disturbance.arguments["velocity_m_s"]
        assert np.hypot(*velocity) == pytest.approx(SLIDE_M_S)
