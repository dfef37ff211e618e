"""The scene as it truly is, sampled: what success, changes and visibility are judged from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from tandem.drivers.sim.scene import cube_z_m
from tandem.runtime.clock import NS_PER_MS

Array = np.ndarray
MOVED_M = 0.015  # from here on a displaced cube is a change of the scene, as in training
STIRRED_M = 0.003
LIGHT_CHANGED = 0.05
LIFTED_M = 0.10
WRONG_LIFTED_M = 0.05
_AT_HAND_M = 0.035
_AT_REST_M = 0.002
_AT_REST_NS = 250 * NS_PER_MS


@dataclass(frozen=True)
class Truth:
    """One sample. `cubes`: colour → [7] position in m and quaternion wxyz, those in play only."""

    t_ns: int
    cubes: dict[str, Array]
    in_hand: str | None
    in_bin: tuple[str, ...]
    tool_m: Array  # [3]
    light: Array  # [3]
    q_rad: Array  # [7]
    width_m: float

    def lift_m(self, colour: str) -> float:
        """Height of a cube above where it rests on the table; 0 if it is not there."""
        cube = self.cubes.get(colour)
        return float(cube[2]) - cube_z_m() if cube is not None else 0.0


def sample(t_ns: int, answer: dict[str, Any], q_rad: Array) -> Truth:
    """From what the simulator answers (`World.truth`)."""
    return Truth(
        t_ns,
        {colour: np.asarray(pose, float) for colour, pose in answer["cubes"].items()},
        answer["in_hand"],
        tuple(answer["in_bin"]),
        np.asarray(answer["tool"], float),
        np.asarray(answer["light"], float),
        np.asarray(q_rad, float),
        float(answer["width_m"]),
    )


def moved_m(before: Truth, now: Truth, colour: str) -> float:
    return float(np.linalg.norm(now.cubes[colour][:3] - before.cubes[colour][:3]))


def changes(before: Truth, now: Truth) -> list[tuple[str, str | None]]:
    """What differs: (kind, colour). What the hand holds is the robot's doing, not a change."""
    found: list[tuple[str, str | None]] = []
    if np.abs(now.light - before.light).max() > LIGHT_CHANGED:
        found.append(("light", None))
    found += [("appear", colour) for colour in now.cubes if colour not in before.cubes]
    found += [("vanish", colour) for colour in before.cubes if colour not in now.cubes]
    found += [("move", colour) for colour in _moved(before, now, MOVED_M)]
    return found


def _handled(now: Truth, colour: str) -> bool:
    """Held, or between the fingers: as a grasp closes or slips, contacts come and go."""
    near = np.linalg.norm(now.cubes[colour][:3] - now.tool_m) < _AT_HAND_M
    return bool(near) or colour == now.in_hand


def stirred(before: Truth, now: Truth) -> bool:
    """Something moved, but too little to count as a change."""
    return bool(_moved(before, now, STIRRED_M))


def _moved(before: Truth, now: Truth, by_m: float) -> list[str]:
    both = (c for c in now.cubes if c in before.cubes and not _handled(now, c))
    return [colour for colour in both if moved_m(before, now, colour) > by_m]


class Outcome:
    """Success, or what came instead, from samples in order of time.

    pick: the named cube is 10 cm above its place. bin: it lies in the bin, let go, at rest. Another
    cube lifted by 5 cm ends the episode: a robot that took the wrong thing has failed.
    """

    def __init__(self, task: str, target: str) -> None:
        self._task = task
        self._target = target
        self._lying: Truth | None = None  # since when it has not moved in the bin
        self.success = False
        self.wrong_object: str | None = None
        self.closest_m = float("inf")
        self.lift_m = 0.0

    @property
    def decided(self) -> bool:
        return self.success or self.wrong_object is not None

    def see(self, now: Truth) -> None:
        others = (colour for colour in now.cubes if colour != self._target)
        self.wrong_object = next((c for c in others if now.lift_m(c) > WRONG_LIFTED_M), None)
        self.lift_m = now.lift_m(self._target)
        cube = now.cubes.get(self._target)
        if cube is not None:
            distance_m = float(np.linalg.norm(cube[:3] - now.tool_m))
            self.closest_m = min(self.closest_m, distance_m)
        achieved = self._lifted() if self._task == "pick" else self._delivered(now)
        self.success = achieved and self.wrong_object is None

    def _lifted(self) -> bool:
        return self.lift_m >= LIFTED_M

    def _delivered(self, now: Truth) -> bool:
        """It lies in the bin, let go, where it already lay a moment ago."""
        if self._target not in now.in_bin or now.in_hand == self._target:
            self._lying = None
            return False
        if self._lying is None or moved_m(self._lying, now, self._target) > _AT_REST_M:
            self._lying = now
        return now.t_ns - self._lying.t_ns >= _AT_REST_NS
