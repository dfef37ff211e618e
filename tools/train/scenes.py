"""Random beginnings: where the cubes lie, where the arm is, what is already in the hand or in the
bin.

Tasks follow one another on a robot, so an episode may begin above the bin, close over the table, or
with something still in the hand; a policy that has only seen the home pose stops there.
"""

from dataclasses import dataclass

import numpy as np
from tandem.drivers.sim import scene
from tandem.drivers.sim.world import World
from tandem.tools.train import ik
from tandem.tools.train.expert import WIDTH_CUBE_M, WIDTH_OPEN_M

Array = np.ndarray
COLOURS = tuple(scene.COLOURS)
CLEAR_M = 0.09  # between the tool, when low, and any cube
HELD_OPENING = WIDTH_CUBE_M / WIDTH_OPEN_M


@dataclass(frozen=True)
class Start:
    """How an episode begins. `gripper` is the command, 0 closed … 1 open."""

    q: Array  # [D] rad
    gripper: float
    held: str | None  # colour in the hand


def lay_out(world: World, rng: np.random.Generator) -> None:
    """A random scene with 3 to 6 cubes, now and then one of them in the bin."""
    world.reset(int(rng.integers(1 << 31)), int(rng.choice([3, 4, 4, 4, 5, 6])))
    world.set_light(rng.uniform(0.8, 1.15) * rng.uniform(0.95, 1.05, 3))
    if rng.random() < 0.2:
        put_into_bin(world, world.present[-1], rng)


def put_into_bin(world: World, colour: str, rng: np.random.Generator) -> None:
    x, y = np.array(scene.BIN_CENTRE_M) + rng.uniform(-0.05, 0.05, 2)
    world.place_cube(colour, x, y, rng.uniform(-0.5, 0.5), scene.cube_z_m() + 0.006)


def cubes_xy(world: World) -> Array:
    """[N, 2] m of all cubes in play."""
    return np.array([world.cube_position(c)[:2] for c in world.present]).reshape(-1, 2)


def free_place(world: World, rng: np.random.Generator, but: str | None = None) -> Array:
    """[2] m on the table, away from every cube except `but`."""
    others = [world.cube_position(c)[:2] for c in world.present if c != but]
    return scene.free_spot(rng, others)


def random_start(world: World, arm: ik.ArmModel, rng: np.random.Generator) -> Start:
    """Draw a pose and a state of the hand, and set the world to it."""
    roll = rng.random()
    if roll < 0.45:
        q = arm.home_q + rng.uniform(-0.1, 0.1, len(arm.home_q))
    else:
        tool = _over_bin(rng) if roll < 0.6 else _over_table(world, rng)
        q = ik.solve_down(arm, tool, arm.home_q) + rng.normal(0, 0.03, len(arm.home_q))
    held, gripper = None, 1.0
    hand = rng.random()
    if hand < 0.12 and ik.tool_pose(arm, q)[0][2] > 0.1:
        held, gripper = str(rng.choice(world.present)), 0.0
    elif hand < 0.25:
        gripper = 0.0
    start = Start(q, gripper, held)
    put_arm(world, start, rng)
    return start


def put_arm(world: World, start: Start, rng: np.random.Generator) -> None:
    """Place the arm at rest; a held cube is put between the fingers, which close on it."""
    if start.held is None:
        world.place_arm(start.q, start.gripper)
        return
    world.place_arm(start.q, HELD_OPENING)
    x, y, z = world.tool_pose()[:3, 3] + rng.uniform(-0.004, 0.004, 3)
    world.place_cube(start.held, x, y, _hand_yaw(world), z)
    still = np.zeros_like(start.q)
    for _ in range(round(0.15 / world.step_s)):
        world.step(start.q, still, still, 0.0)


def _hand_yaw(world: World) -> float:
    rotation = world.tool_pose()[:3, :3]
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def _over_bin(rng: np.random.Generator) -> Array:
    x, y = np.array(scene.BIN_CENTRE_M) + rng.uniform(-0.05, 0.05, 2)
    return np.array([x, y, rng.uniform(0.12, 0.36)])


def _over_table(world: World, rng: np.random.Generator) -> Array:
    """Anywhere the tool may be: low only where no cube is."""
    while True:
        tool = np.array([rng.uniform(0.30, 0.65), rng.uniform(-0.30, 0.25), 0.0])
        tool[2] = rng.uniform(0.03, 0.15) if rng.random() < 0.35 else rng.uniform(0.12, 0.45)
        near_bin = tool[1] < -0.22 and tool[2] < 0.13
        away = np.hypot(*(cubes_xy(world) - tool[:2]).T).min()
        if not near_bin and (tool[2] > 0.12 or away > CLEAR_M):
            return tool
