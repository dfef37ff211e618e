"""What each episode is: scene, named cube, words, and what will happen to the scene meanwhile.

Everything follows from the scene's seed, each part from a random stream of its own: with or without
a disturbance it is the same scene and the same words.
"""

from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

import numpy as np
from tandem.drivers.sim import scene
from tandem.policies.s2.text import COLOURS, INSTRUCTIONS
from tandem.tools.evaluate.seeds import scene_seed, stream

TIME_LIMIT_S = {"pick": 10.0, "bin": 18.0}
SLIDE_M_S = 0.03
JUMP_M = 0.08  # in x and in y
_JUMP_AT_S = (0.5, 1.2)  # the arm is on its way down
_SLIDE_AT_S = (0.2, 0.6)


@dataclass(frozen=True)
class Disturbance:
    """What happens, when, and the arguments of the simulator's `disturb`; `kind` is its word."""

    kind: str
    t_s: float
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    index: int
    seed: int
    task: str
    target: str
    instruction: str
    disturbance: Disturbance | None

    @property
    def time_limit_s(self) -> float:
        return TIME_LIMIT_S[self.task]


def scenario(
    run_seed: int, index: int, task: str, disturb: str = "none", cubes: int = 4
) -> Scenario:
    """Draw episode `index` of a run."""
    seed = scene_seed(run_seed, index)
    layout = scene.random_layout(seed, cubes)
    words = stream(seed, "words")
    target = str(words.choice(sorted(layout.cubes)))
    instruction = str(words.choice(INSTRUCTIONS[task])).format(target)
    disturbance = None
    if disturb != "none":
        disturbance = _draw(disturb, target, layout, stream(seed, disturb))
    return Scenario(index, seed, task, target, instruction, disturbance)


def other_colour(scenario: Scenario, cubes: int) -> str:
    """Another cube of the same scene, for telling the policy something else than is scored."""
    layout = scene.random_layout(scenario.seed, cubes)
    others = sorted(colour for colour in layout.cubes if colour != scenario.target)
    return str(stream(scenario.seed, "other").choice(others or sorted(COLOURS)))


def _draw(kind: str, target: str, layout: scene.Layout, rng: np.random.Generator) -> Disturbance:
    t_s = float(rng.uniform(*(_SLIDE_AT_S if kind == "slide" else _JUMP_AT_S)))
    arguments: dict[str, Any]
    match kind:
        case "jump":
            arguments = {"colour": target, "to_m": _jump(target, layout, rng)}
        case "slide":
            arguments = {"colour": target, "velocity_m_s": _slide(target, layout, rng)}
        case "light":
            arguments = {"light": _light(layout, rng)}
        case "appear":
            colour = str(rng.choice(sorted(set(scene.COLOURS) - set(layout.cubes))))
            arguments = {"colour": colour, "to_m": _free(layout, rng)}
        case "vanish":
            arguments = {"colour": str(rng.choice(sorted(set(layout.cubes) - {target})))}
        case "shuffle":
            arguments = {"places": _shuffled(layout, rng)}
        case "shuffle_light":
            arguments = {"places": _shuffled(layout, rng), "light": _light(layout, rng)}
            kind = "shuffle"
        case _:
            raise ValueError(f"no disturbance is called {kind!r}")
    return Disturbance(kind, t_s, arguments)


def _light(layout: scene.Layout, rng: np.random.Generator) -> list[float]:
    """Clearly lighter or darker: what a person would call a change of light."""
    level = float(rng.choice([rng.uniform(0.55, 0.75), rng.uniform(1.25, 1.4)]))
    return [level * float(layout.light.mean())] * 3


def _shuffled(layout: scene.Layout, rng: np.random.Generator) -> dict[str, list[float]]:
    """Somebody sweeps the table: no cube lies where it lay, and one may lie where another did."""
    return scene.elsewhere(rng, {c: np.array(place) for c, place in layout.cubes.items()})


def _places(layout: scene.Layout, but: str | None = None) -> list[np.ndarray]:
    return [np.array(place[:2]) for colour, place in layout.cubes.items() if colour != but]


def _free(layout: scene.Layout, rng: np.random.Generator, but: str | None = None) -> list[float]:
    return [float(v) for v in scene.free_spot(rng, _places(layout, but))]


def _jump(target: str, layout: scene.Layout, rng: np.random.Generator) -> list[float]:
    """8 cm away in x and in y, to where the cube can lie; a free place where no corner is."""
    here = np.array(layout.cubes[target][:2])
    signs = rng.permutation([(1, 1), (1, -1), (-1, 1), (-1, -1)])
    for sign in signs:
        there = here + JUMP_M * sign
        if _lies_free(there, _places(layout, target)):
            return [float(v) for v in there]
    return _free(layout, rng, target)


def _lies_free(spot: np.ndarray, others: list[np.ndarray]) -> bool:
    (x0, x1), (y0, y1) = scene.X_RANGE_M, scene.Y_RANGE_M
    if not (x0 <= spot[0] <= x1 and y0 <= spot[1] <= y1):
        return False
    return all(np.hypot(*(spot - other)) > scene.SPACING_M for other in others)


def _slide(target: str, layout: scene.Layout, rng: np.random.Generator) -> list[float]:
    """Mostly sideways, towards the far side of the table, 3 cm/s."""
    towards = -1.0 if layout.cubes[target][1] > 0 else 1.0
    angle = towards * pi / 2 + float(rng.uniform(-0.4, 0.4))
    return [SLIDE_M_S * cos(angle), SLIDE_M_S * sin(angle)]
