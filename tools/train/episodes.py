"""Demonstrations: the expert at work in random scenes, recorded at the rate of the policy.

A quarter of the cubes jump during the approach and a third slide, because a policy that has only
seen still scenes follows its first errand to a place where nothing is any more. Bursts of
disturbance push the arm off the expert's path (in the spirit of DART, Laskey et al. 2017); the
steps of a burst are recorded but marked, since their actions are not the expert's.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from tandem.drivers.sim import scene
from tandem.drivers.sim.world import World
from tandem.tools.train import scenes
from tandem.tools.train.cell import Drive
from tandem.tools.train.expert import BIN, PICK, Expert

Array = np.ndarray
STILL, JUMP, SLIDE = 0, 1, 2
MAX_STEPS = 280
_REST_STEPS = 8  # recorded after the work is done: a policy must learn to stay
_LIFTED_M, _DONE_Z_M = 0.10, 0.235


@dataclass(frozen=True)
class Errand:
    """What one demonstration is about."""

    colour: str
    task: int
    kind: int


@dataclass
class Disturber:
    """Everything in the scene that moves without being touched, decided beforehand by the seed."""

    errand: Errand
    rng: np.random.Generator
    jump_step: int = field(init=False)
    slide_step: int = field(init=False)
    other_step: int = field(init=False)
    jumped: bool = False

    def __post_init__(self) -> None:
        self.jump_step = int(self.rng.integers(4, 48))
        self.slide_step = int(self.rng.integers(0, 16))
        self.other_step = int(self.rng.integers(5, 90)) if self.rng.random() < 0.25 else -1

    def act(self, world: World, step: int) -> None:
        self.jumped = False
        grasping = _between_fingers(world, self.errand.colour)
        if self.errand.kind == JUMP and step == self.jump_step and not grasping:
            self.jumped = jump(world, self.errand.colour, self.rng)
        if self.errand.kind == SLIDE and step == self.slide_step and not grasping:
            slide(world, self.errand.colour, self.rng.uniform(0.01, 0.04), self.rng)
        if step == self.other_step:
            self._disturb_elsewhere(world)

    def _disturb_elsewhere(self, world: World) -> None:
        others = [c for c in world.present if c != self.errand.colour and c != world.in_hand()]
        if self.rng.random() < 0.3 or not others:
            world.set_light(self.rng.uniform(0.65, 1.3) * self.rng.uniform(0.92, 1.08, 3))
        else:
            jump(world, str(self.rng.choice(others)), self.rng)


def jump(world: World, colour: str, rng: np.random.Generator) -> bool:
    """Move a cube to another free place, near or far; not where the hand is."""
    here, tool = world.cube_position(colour)[:2], world.tool_pose()[:3, 3]
    for _ in range(50):
        place = scenes.free_place(world, rng, but=colour)
        if rng.random() < 0.6:
            place = np.clip(
                here + rng.choice([-1, 1], 2) * rng.uniform(0.03, 0.1, 2),
                [scene.X_RANGE_M[0], scene.Y_RANGE_M[0]],
                [scene.X_RANGE_M[1], scene.Y_RANGE_M[1]],
            )
        others = [world.cube_position(c)[:2] for c in world.present if c != colour]
        clear = all(np.hypot(*(place - o)) > scene.SPACING_M for o in others)
        if clear and (np.hypot(*(place - tool[:2])) > 0.1 or tool[2] > 0.17):
            world.place_cube(colour, *place, rng.uniform(-scene.YAW_MAX_RAD, scene.YAW_MAX_RAD))
            return True
    return False


def slide(world: World, colour: str, speed_m_s: float, rng: np.random.Generator) -> None:
    """Let a cube slide: mostly along the way where there is room, otherwise anywhere."""
    x, y = world.cube_position(colour)[:2]
    middle = np.array([np.mean(scene.X_RANGE_M), np.mean(scene.Y_RANGE_M)]) - [x, y]
    direction = np.arctan2(middle[1], middle[0]) + rng.normal(0, 0.9)
    velocity = speed_m_s * np.array([np.cos(direction), np.sin(direction)])
    world.slide_cube(colour, velocity)


def _between_fingers(world: World, colour: str) -> bool:
    offset = world.cube_position(colour) - world.tool_pose()[:3, 3]
    return bool(np.hypot(*offset[:2]) < 0.06 and abs(offset[2]) < 0.06) or world.width_m < 0.07


@dataclass
class Burst:
    """A push on the tool for some steps, now and then."""

    rng: np.random.Generator
    left: int = 0
    push_m_s: Array = field(default_factory=lambda: np.zeros(3))

    def step(self, allowed: bool) -> Array | None:
        """[3] m/s while a burst lasts, otherwise None."""
        if self.left == 0 and allowed and self.rng.random() < 0.03:
            self.left = int(self.rng.integers(4, 10))
            self.push_m_s = self.rng.normal(0, 1, 3) * [0.28, 0.28, 0.15]
        if self.left == 0:
            return None
        self.left -= 1
        return self.push_m_s


def random_errand(world: World, rng: np.random.Generator) -> Errand:
    """A task whose cube lies on the table."""
    on_table = [c for c in world.present if c not in world.in_bin()]
    return Errand(
        colour=str(rng.choice(on_table)),
        task=BIN if rng.random() < 0.35 else PICK,
        kind=int(rng.choice([STILL, JUMP, SLIDE], p=[0.45, 0.25, 0.30])),
    )


def done(world: World, errand: Errand) -> bool:
    """True once the cube is where it was asked for and the tool has finished moving it."""
    high = world.tool_pose()[2, 3]
    if errand.task == PICK:
        return world.lifted(errand.colour, _LIFTED_M) and high > _DONE_Z_M
    return errand.colour in world.in_bin() and high > scene.BIN_HEIGHT_M + 0.22


def demonstrate(world: World, expert: Expert, seed: int) -> dict[str, Array] | None:
    """One demonstration as arrays [T, …] (see data.py), or None if it failed."""
    rng = np.random.default_rng([seed, 7])
    scenes.lay_out(world, rng)
    errand = random_errand(world, rng)
    start = scenes.random_start(world, expert.arm, rng)
    drive = Drive(world)
    drive.start(start.q, start.gripper)
    disturber, burst = Disturber(errand, rng), Burst(rng)
    rows: dict[str, list[object]] = defaultdict(list)
    rest = _REST_STEPS
    for step in range(MAX_STEPS):
        disturber.act(world, step)
        cell = drive.cell(errand.colour, errand.task)
        move = expert.step(cell)
        push = burst.step(allowed=not _between_fingers(world, errand.colour))
        record(rows, world, drive, errand, disturber.jumped)
        rows["actions"].append(np.append(move.q[0], move.gripper[0]))
        rows["valid"].append(push is None)
        drive.follow(move if push is None else expert.step(cell, push[None]))
        rest -= done(world, errand)
        if rest <= 0:
            return {name: np.array(values) for name, values in rows.items()}
    return None


def record(
    rows: dict[str, list[object]], world: World, drive: Drive, errand: Errand, jumped: bool
) -> None:
    """What was true and seen at this step, before moving on."""
    cubes = np.full((len(scenes.COLOURS), 3), np.nan)
    for colour in world.present:
        cubes[scenes.COLOURS.index(colour)] = world.cube_position(colour)
    held = world.in_hand()
    drift = np.zeros(3)
    drift[:2] = world.slides.get(errand.colour, 0.0)
    rows["images"].append(world.render("front").copy())
    rows["cubes"].append(cubes)
    rows["drift"].append(drift)
    rows["q_cmd"].append(drive.q.copy())
    rows["dq_cmd"].append(drive.dq.copy())
    rows["q"].append(world.q)
    rows["gripper"].append(drive.gripper)
    rows["width"].append(world.width_m)
    rows["held"].append(-1 if held is None else scenes.COLOURS.index(held))
    rows["colour"].append(scenes.COLOURS.index(errand.colour))
    rows["task"].append(errand.task)
    rows["kind"].append(errand.kind)
    rows["jumped"].append(jumped)
