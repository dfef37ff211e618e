"""Clips: five pictures of one random scene with the arm somewhere else in each, and at most one
change.

They are what grounds System 2 and its recache gate: cheap (nothing moves by physics), and they
show the one thing that demonstrations show too rarely, namely which differences between two
pictures matter. A world with a drawer makes clips in which that is all that may change; they are
for the gate alone.
"""

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from tandem.drivers.sim import scene
from tandem.drivers.sim.world import World
from tandem.tools.train import ik, scenes

Array = np.ndarray
FRAMES = 5
NONE, MOVED, APPEARED, VANISHED, LIGHT, DRAWER = range(6)
_EVENT_SHARES = (0.32, 0.34, 0.10, 0.10, 0.14)
_DRAWER_SHARE = 0.7
_OPENING_M = (0.03, 0.10)
_LOOKS_OTHERWISE = 12  # of 255, in any colour
_HELD_SHARE = 0.3
_MOVED_MIN_M = 0.02


@dataclass(frozen=True)
class Hold:
    """A cube in the hand from frame `begin` up to, not including, `end`."""

    colour: str
    begin: int
    end: int

    def at(self, frame: int) -> bool:
        return self.begin <= frame < self.end


def film(world: World, arm: ik.ArmModel, seed: int) -> dict[str, Array]:
    """One clip as arrays, see data.py.

    A world with a drawer adds `drawer_m` [5], how far it stands open, and `drawer_px` [5], how many
    pixels tell it from where it is in the clip's other pictures.
    """
    rng = np.random.default_rng([seed, 11])
    scenes.lay_out(world, rng)
    hold = _draw_hold(world, rng)
    event, drawer_m = _draw_event(world, rng)
    frame = int(rng.integers(1, FRAMES))
    event, colour = _feasible(world, event, hold, rng)
    rows: dict[str, list[Any]] = {"images": [], "cubes": [], "held": []}
    if world.has_drawer:
        rows |= {"drawer_m": [], "drawer_px": []}
    tools, openings = _poses(world, rng)
    joints = ik.solve_down(arm, tools, arm.home_q, iterations=40)
    joints = joints + rng.normal(0, 0.02, joints.shape)
    for i in range(FRAMES):
        if i == frame:
            _change(world, event, colour, rng)
        if world.has_drawer:
            world.set_drawer(drawer_m[event == DRAWER and i >= frame])
        _hold_or_not(world, arm, hold, i, joints[i], openings[i], rng)
        mujoco.mj_forward(world.model, world.data)
        held = hold.colour if hold and hold.at(i) else None
        rows["images"].append(world.render("front").copy())
        rows["cubes"].append(positions(world))
        rows["held"].append(-1 if held is None else scenes.COLOURS.index(held))
        if world.has_drawer:
            rows["drawer_m"].append(world.drawer_m)
            rows["drawer_px"].append(
                _told_px(world, rows["images"][-1], sum(drawer_m) - world.drawer_m)
            )
    clip = {name: np.array(values) for name, values in rows.items()}
    named = event in (MOVED, APPEARED, VANISHED)
    return clip | {
        "event": np.array(event),
        "event_frame": np.array(frame if event else FRAMES),
        "event_colour": np.array(scenes.COLOURS.index(colour) if named else -1),
    }


def positions(world: World) -> Array:
    """[6, 3] m in the order of the colours, NaN where a cube is not in play."""
    out = np.full((len(scenes.COLOURS), 3), np.nan)
    for colour in world.present:
        out[scenes.COLOURS.index(colour)] = world.cube_position(colour)
    return out


def _draw_event(world: World, rng: np.random.Generator) -> tuple[int, tuple[float, float]]:
    """What happens, and how far a drawer stands open before and after: shut, then open, or back."""
    if not world.has_drawer:
        return int(rng.choice(5, p=_EVENT_SHARES)), (0.0, 0.0)
    event = DRAWER if rng.random() < _DRAWER_SHARE else NONE
    open_m = float(rng.uniform(*_OPENING_M))
    return event, (0.0, open_m) if rng.random() < 0.5 else (open_m, 0.0)


def _told_px(world: World, picture: Array, other_m: float) -> int:
    """Pixels of `picture`, the world as it is, that would look otherwise with the drawer there."""
    here_m = world.drawer_m
    world.set_drawer(other_m)
    mujoco.mj_kinematics(world.model, world.data)
    other = world.render("front").astype(int)
    world.set_drawer(here_m)
    return int((np.abs(other - picture).max(-1) > _LOOKS_OTHERWISE).sum())


def _draw_hold(world: World, rng: np.random.Generator) -> Hold | None:
    """Mostly picked up and kept; sometimes there from the first frame."""
    if rng.random() > _HELD_SHARE:
        return None
    begin = 0 if rng.random() < 0.4 else int(rng.integers(1, FRAMES))
    return Hold(str(rng.choice(world.present)), begin, FRAMES)


def _feasible(
    world: World, event: int, hold: Hold | None, rng: np.random.Generator
) -> tuple[int, str]:
    """The event and its cube, or no event where the scene does not allow it."""
    absent = [c for c in scenes.COLOURS if c not in world.present]
    if event == APPEARED:
        return (APPEARED, str(rng.choice(absent))) if absent else (NONE, "")
    others = [c for c in world.present if hold is None or c != hold.colour]
    if event in (MOVED, VANISHED):
        enough = len(others) > (1 if event == VANISHED else 0)
        return (event, str(rng.choice(others))) if enough else (NONE, "")
    return event, ""


def _change(world: World, event: int, colour: str, rng: np.random.Generator) -> None:
    yaw = rng.uniform(-scene.YAW_MAX_RAD, scene.YAW_MAX_RAD)
    if event == MOVED and rng.random() < 0.12:
        scenes.put_into_bin(world, colour, rng)
    elif event == MOVED:
        world.place_cube(colour, *_moved_place(world, colour, rng), yaw)
    elif event == APPEARED:
        world.place_cube(colour, *scenes.free_place(world, rng), yaw)
    elif event == VANISHED:
        world.park_cube(colour)
    elif event == LIGHT:
        world.set_light(_other_light(world.light, rng))


def _moved_place(world: World, colour: str, rng: np.random.Generator) -> Array:
    """[2] m: half of the moves are short, since long ones are easy to see."""
    here = world.cube_position(colour)[:2]
    others = [world.cube_position(c)[:2] for c in world.present if c != colour]
    for _ in range(200):
        place = scenes.free_place(world, rng, but=colour)
        if rng.random() < 0.5:
            angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(_MOVED_MIN_M, 0.08)
            place = here + far * np.array([np.cos(angle), np.sin(angle)])
        clear = all(np.hypot(*(place - o)) > 0.06 for o in others)
        if clear and _on_table(place) and np.hypot(*(place - here)) >= _MOVED_MIN_M:
            return place
    return scenes.free_place(world, rng, but=colour)


def _on_table(place: Array) -> bool:
    (x0, x1), (y0, y1) = scene.X_RANGE_M, scene.Y_RANGE_M
    return bool(x0 <= place[0] <= x1 and y0 <= place[1] <= y1)


def _other_light(light: Array, rng: np.random.Generator) -> Array:
    """A brightness or a tint that a person would notice."""
    while True:
        new = rng.uniform(0.55, 1.4) * rng.uniform(0.85, 1.15, 3)
        if np.abs(new - light).max() > 0.2:
            return new


def _poses(world: World, rng: np.random.Generator) -> tuple[Array, Array]:
    """Tool positions [FRAMES, 3] and openings: around the task, above the bin, anywhere."""
    tools, openings = np.empty((FRAMES, 3)), rng.choice([0.0, 1.0, 1.0, 1.0], FRAMES)
    spots = scenes.cubes_xy(world)
    for i in range(FRAMES):
        roll = rng.random()
        if roll < 0.40:
            low = rng.random() < 0.35
            xy = spots[rng.integers(len(spots))] + rng.normal(0, 0.006 if low else 0.03, 2)
            tools[i] = [*xy, rng.uniform(0.019, 0.06) if low else rng.uniform(0.07, 0.25)]
            openings[i] = 1.0 if low else openings[i]
        elif roll < 0.52:
            xy = np.array(scene.BIN_CENTRE_M) + rng.uniform(-0.06, 0.06, 2)
            tools[i] = [*xy, rng.uniform(0.09, 0.36)]
        elif roll < 0.64:
            tools[i] = [rng.uniform(0.28, 0.34), rng.uniform(-0.04, 0.04), rng.uniform(0.42, 0.5)]
        else:
            xyz = rng.uniform([0.30, -0.40, 0.06], [0.66, 0.25, 0.45])
            tools[i] = xyz
    return tools, openings


def _hold_or_not(
    world: World,
    arm: ik.ArmModel,
    hold: Hold | None,
    frame: int,
    q: Array,
    opening: float,
    rng: np.random.Generator,
) -> None:
    if hold is None or not hold.at(frame):
        world.place_arm(q, opening)
        return
    tool, rotation = ik.tool_pose(arm, q)
    if tool[2] < 0.1:  # carried, not grasped: lift the pose
        q = ik.solve_down(arm, np.array([*tool[:2], rng.uniform(0.1, 0.3)]), q, iterations=20)
        tool, rotation = ik.tool_pose(arm, q)
    world.place_arm(q, scenes.HELD_OPENING)
    yaw = float(np.arctan2(rotation[1, 0], rotation[0, 0]))
    x, y, z = tool + rng.uniform(-0.005, 0.005, 3)
    world.place_cube(hold.colour, x, y, yaw, z)
