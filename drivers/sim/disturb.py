"""What can happen to a scene while the robot works: cubes move, come, go, the light changes."""

from typing import Any

import numpy as np
from tandem.drivers.sim import scene
from tandem.drivers.sim.world import World
from tandem.runtime.errors import RefusedError

KINDS = ("jump", "slide", "light", "appear", "vanish", "shuffle")


def disturb(
    world: World,
    kind: str,
    colour: str | None = None,
    to_m: tuple[float, float] | None = None,
    velocity_m_s: tuple[float, float] | None = None,
    light: tuple[float, float, float] | float | None = None,
    places: dict[str, tuple[float, float, float]] | None = None,
) -> dict[str, Any]:
    """Disturb the scene; what is not given is drawn from the episode's own random numbers.

    `jump`: the cube is elsewhere at once (`to_m`: x, y). `slide`: it moves at `velocity_m_s` until
    it is held or about to leave the workspace. `light`: brightness, 1 is normal. `appear`: a cube
    that is not in play is put on the table. `vanish`: a cube is gone. `shuffle`: all that lies on
    the table lies elsewhere at once (`places`: colour → x, y, yaw), under another `light` if one is
    given. Returns what was done.

    Raises:
        RefusedError: the cube is not there (or already there), or the kind is unknown.
    """
    match kind:
        case "jump":
            colour = _pick(world, colour, world.present)
            spot = _spot(world, to_m, without=colour)
            world.place_cube(colour, *spot, yaw=world.cube_yaw(colour))
            return {"colour": colour, "to_m": spot}
        case "slide":
            colour = _pick(world, colour, world.present)
            velocity = _velocity(world, velocity_m_s)
            world.slide_cube(colour, np.array(velocity))
            return {"colour": colour, "velocity_m_s": velocity}
        case "light":
            given = world.rng.uniform(0.5, 1.4) if light is None else light
            world.set_light(np.asarray(given, dtype=float))
            return {"light": [float(v) for v in world.light]}
        case "appear":
            colour = _pick(world, colour, [c for c in scene.COLOURS if c not in world.present])
            spot = _spot(world, to_m, without=colour)
            yaw = float(world.rng.uniform(-scene.YAW_MAX_RAD, scene.YAW_MAX_RAD))
            world.place_cube(colour, *spot, yaw=yaw)
            return {"colour": colour, "to_m": spot}
        case "vanish":
            colour = _pick(world, colour, world.present)
            world.park_cube(colour)
            return {"colour": colour}
        case "shuffle":
            done = {"places": _shuffle(world, places)}
            return done if light is None else done | disturb(world, "light", light=light)
    raise RefusedError(f"no disturbance is called {kind!r}; there are {', '.join(KINDS)}")


def _pick(world: World, colour: str | None, allowed: list[str]) -> str:
    if not allowed:
        raise RefusedError("no cube is left for this disturbance")
    if colour is None:
        return str(world.rng.choice(allowed))
    if colour not in allowed:
        raise RefusedError(f"the {colour} cube cannot be used; possible: {', '.join(allowed)}")
    return colour


def _shuffle(world: World, places: dict[str, tuple[float, float, float]] | None) -> dict[str, Any]:
    """What is in the hand or in the bin stays there."""
    kept = {world.in_hand(), *world.in_bin()}
    lying = {c: world.cube_position(c) for c in world.present if c not in kept}
    for colour in places or ():
        _pick(world, colour, world.present)
    wanted: dict[str, Any] = scene.elsewhere(world.rng, lying) if places is None else places
    new = {colour: place for colour, place in wanted.items() if colour in lying}
    for colour, (x, y, yaw) in new.items():
        world.place_cube(colour, x, y, yaw)
    return new


def _spot(world: World, to_m: tuple[float, float] | None, without: str) -> tuple[float, float]:
    if to_m is not None:
        x, y = to_m
        return float(x), float(y)
    others = [world.cube_position(c) for c in world.present if c != without]
    spot = scene.free_spot(world.rng, others)
    return float(spot[0]), float(spot[1])


def _velocity(world: World, velocity_m_s: tuple[float, float] | None) -> tuple[float, float]:
    if velocity_m_s is not None:
        vx, vy = velocity_m_s
        return float(vx), float(vy)
    angle = world.rng.uniform(-np.pi, np.pi)
    return 0.03 * float(np.cos(angle)), 0.03 * float(np.sin(angle))
