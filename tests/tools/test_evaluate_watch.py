"""Judging an episode from the truth: outcome, phases, changes, what a camera could have seen."""

from dataclasses import replace

import numpy as np
import pytest
from tandem.drivers.sim.scene import COLOURS
from tandem.drivers.sim.world import World
from tandem.tools.evaluate.truth import Outcome, Truth, changes, sample
from tandem.tools.evaluate.visibility import ROBOT, Eye, changed_px
from tandem.tools.evaluate.watch import SceneWatch

_FRAME_NS = 100_000_000


@pytest.fixture(scope="module")
def world():
    world = World(seed=5)
    yield world
    world.close()


@pytest.fixture(scope="module")
def eye():
    eye = Eye(("front",))
    yield eye
    eye.close()


@pytest.fixture
def start(world) -> Truth:
    world.reset(5)
    return sample(0, world.truth(), world.q)


def _moved(truth: Truth, colour: str, by_m: list[float], **more) -> Truth:
    pose = truth.cubes[colour].copy()
    pose[:3] += by_m
    return replace(truth, cubes=truth.cubes | {colour: pose}, **more)


def test_lifting_the_named_cube_is_success_and_another_is_not(start):
    target, other = list(start.cubes)[:2]
    outcome = Outcome("pick", target)
    outcome.see(_moved(start, target, [0, 0, 0.09]))
    assert not outcome.decided
    outcome.see(_moved(start, target, [0, 0, 0.11]))
    assert outcome.success
    assert outcome.wrong_object is None
    wrong = Outcome("pick", target)
    wrong.see(_moved(start, other, [0, 0, 0.06]))
    assert wrong.decided
    assert not wrong.success
    assert wrong.wrong_object == other


def test_the_bin_needs_the_cube_let_go_and_at_rest(start):
    target = next(iter(start.cubes))
    there = replace(start, in_bin=(target,))
    outcome = Outcome("bin", target)
    for t_ns in (0, 5 * _FRAME_NS):
        outcome.see(replace(there, in_hand=target, t_ns=t_ns))
    assert not outcome.success
    for step in range(6):  # let go, and falling
        outcome.see(_moved(there, target, [0, 0, -0.01 * step], t_ns=(6 + step) * _FRAME_NS))
    assert not outcome.success
    for step in range(2, 5):
        outcome.see(_moved(there, target, [0, 0, -0.05], t_ns=(10 + step) * _FRAME_NS))
        assert outcome.success == (step == 4)
    assert outcome.success


def test_changes_are_named_and_the_held_cube_is_none(start):
    first, second = list(start.cubes)[:2]
    assert changes(start, start) == []
    assert changes(start, _moved(start, first, [0.02, 0, 0])) == [("move", first)]
    assert changes(start, _moved(start, first, [0.02, 0, 0], in_hand=first)) == []
    assert changes(start, replace(start, light=start.light * 0.8)) == [("light", None)]
    fewer = replace(start, cubes={c: p for c, p in start.cubes.items() if c != second})
    assert changes(start, fewer) == [("vanish", second)]
    assert changes(fewer, start) == [("appear", second)]


def test_frames_are_sorted_into_phases_and_a_change_into_its_delay(start, eye):
    colour = next(iter(start.cubes))
    watch = SceneWatch(0, eye.look)
    watch.see(start, [True, True])  # fills the cache, no refresh
    watch.see(start, [False, False])
    watch.see(replace(start, in_hand=colour), [False, True])
    away = _moved(start, colour, [0.05, 0, 0], t_ns=3 * _FRAME_NS)
    watch.see(away, [False, False])
    watch.see(away, [False, True])
    watch.see(away, [False, False])
    watch.see(_moved(away, colour, [0.005, 0, 0]), [False, False])
    counts = {phase: (f.frames, f.refreshed) for phase, f in watch.phases.items()}
    assert counts == {
        "arm": (2, [0, 0]),
        "carry": (1, [0, 1]),
        "change": (2, [0, 1]),
        "nudge": (1, [0, 0]),
    }
    (change,) = watch.changes
    assert (change.kind, change.visible, change.frames_to_refresh) == ("move", True, 2)
    assert change.t_s == pytest.approx(0.3)


def test_the_eye_labels_cubes_and_robot_and_knows_what_hides(start, eye):
    colour = next(iter(start.cubes))
    before = eye.look(start)
    assert before.shape == (1, 128, 128)
    cubes = {1 + list(COLOURS).index(cube) for cube in start.cubes}
    assert set(np.unique(before)) == cubes | {0, ROBOT}
    assert changed_px(before, before, colour) == 0
    assert changed_px(before, eye.look(_moved(start, colour, [0.08, 0, 0])), colour) > 50
    hidden = replace(start, cubes={c: p for c, p in start.cubes.items() if c != colour})
    assert changed_px(before, eye.look(hidden), colour) >= 12
    assert changed_px(eye.look(hidden), eye.look(hidden), colour) == 0


def test_a_change_nobody_could_see_is_told_apart(start):
    """The same labels before and after: the cube went from hidden to hidden."""
    colour = next(iter(start.cubes))
    watch = SceneWatch(0, lambda truth: np.full((1, 8, 8), ROBOT, np.int8))
    watch.see(start, [True, True])
    away = _moved(start, colour, [0.05, 0, 0])
    watch.see(away, [False, False])
    watch.see(away, [False, True])
    (change,) = watch.changes
    assert (change.visible, change.frames_to_refresh) == (False, None)
