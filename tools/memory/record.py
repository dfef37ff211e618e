"""What the learner sees: rendered episodes, and at every tick what the oracle would have done.

Mostly the oracle acts. In a part of the episodes it stumbles now and then (the memoryless one
decides instead), and shows from there how to go on: whoever only ever saw perfect episodes is lost
after the first mistake (in the spirit of DAgger, Ross et al. 2011).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tandem.drivers.sim.kitchen import Kitchen
from tandem.drivers.sim.kitchen_scene import random_kitchen
from tandem.policies.memory.subgoals import SUBGOALS, SubGoal
from tandem.tools.evaluate.seeds import stream
from tandem.tools.memory.changes import where
from tandem.tools.memory.episode import Play, seconds_for
from tandem.tools.memory.minds import TICK_S, Look, Memoryless, Oracle

Array = np.ndarray
PHYSICS_STEP_S = 0.002
STUMBLING, STUMBLE = 0.5, 0.12  # share of episodes; and in those of decisions
_REST_S = 2.0


@dataclass
class Recording:
    """Looks of many episodes, one after another; arrays [N, …]."""

    images: Array  # [N, 128, 128, 3] uint8
    t_s: Array
    episode: Array
    free: Array  # bool: a decision was due
    answer: Array  # index into SUBGOALS of what the oracle would do
    seconds: Array
    cans: Array  # [N, 2] where each can stands: a place, or ELSEWHERE
    tool: Array  # the place the tool is over, or ELSEWHERE
    holding: Array  # bool
    light: Array  # brightness, 1 is normal

    def __len__(self) -> int:
        return len(self.t_s)

    def rows(self, chosen: Array) -> "Recording":
        """Those looks [N] bool; whole episodes, if histories are to be made of them."""
        return Recording(**{name: values[chosen] for name, values in vars(self).items()})


class Stumbling:
    """The oracle, but now and then the memoryless one answers instead."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle, self._other = oracle, Memoryless()

    def begin(self, seconds: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._oracle.begin(seconds, rng)
        self._other.begin(seconds, rng)
        self._share = STUMBLE if rng.random() < STUMBLING else 0.0

    def decide(self, look: Look) -> SubGoal:
        # A draw a decision, so that an episode is the same however often it is looked at.
        stumbles = look.free and self._rng.random() < self._share
        return (self._other if stumbles else self._oracle).decide(look)


def record(seeds: range, advance: Callable[[int], None], look_s: float = TICK_S) -> Recording:
    """Play an episode a seed; the stumbling oracle acts, the oracle teaches."""
    play = Play(Kitchen(step_s=PHYSICS_STEP_S), look_s)
    rows: dict[str, list[object]] = defaultdict(list)
    teacher = Oracle()
    acts = Stumbling(teacher)
    for seed in seeds:
        teacher.begin(seconds_for(seed), stream(seed, "mind"))
        play.run(acts, seed, _writer(rows, seed, teacher), _REST_S)
        advance(1)
    return Recording(**{name: np.array(values) for name, values in rows.items()})


def _writer(
    rows: dict[str, list[object]], seed: int, teacher: Oracle
) -> Callable[[Look, SubGoal], None]:
    seconds, light = seconds_for(seed), float(random_kitchen(seed).light.mean())

    def write(look: Look, _: SubGoal) -> None:
        rows["images"].append(look.image())
        rows["t_s"].append(look.t_s)
        rows["episode"].append(seed)
        rows["free"].append(look.free)
        rows["answer"].append(SUBGOALS.index(teacher.decide(look)))
        rows["seconds"].append(seconds)
        rows["light"].append(light)
        rows["cans"].append([where(can) for can in look.truth.cans])
        rows["tool"].append(where(look.tool_m))
        rows["holding"].append(look.holding)

    return write
