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
from tandem.policies.memory.subgoals import PLACES, SUBGOALS, SubGoal
from tandem.tools.evaluate.seeds import stream
from tandem.tools.memory.episode import Play, seconds_for
from tandem.tools.memory.hands import NEAR_PLACE_M, place_xy
from tandem.tools.memory.minds import Look, Memoryless, Mind, Oracle

Array = np.ndarray
PHYSICS_STEP_S = 0.002
ELSEWHERE = PLACES  # in the hand, or on the way
WHERES = PLACES + 1
STUMBLING, STUMBLE = 0.5, 0.12  # share of episodes; and in those of decisions
_REST_S = 2.0
_LOW_M = 0.08  # a standing can has its centre below, a carried one above


@dataclass
class Recording:
    """Ticks of many episodes, one after another; arrays [N, …]."""

    images: Array  # [N, 128, 128, 3] uint8
    t_s: Array
    episode: Array
    free: Array  # bool: a decision was due
    answer: Array  # index into SUBGOALS of what the oracle would do
    seconds: Array
    cans: Array  # [N, 2] where each can stands: a place, or ELSEWHERE
    tool: Array  # the place the tool is over, or ELSEWHERE
    holding: Array  # bool

    def __len__(self) -> int:
        return len(self.t_s)

    def rows(self, chosen: Array) -> "Recording":
        """Those ticks [N] bool; whole episodes, if histories are to be made of them."""
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
        stumbles = self._rng.random() < self._share
        return (self._other if stumbles else self._oracle).decide(look)


def record(seeds: range, advance: Callable[[int], None], mind: Mind | None = None) -> Recording:
    """Play an episode a seed; `mind` acts (the stumbling oracle by default), the oracle teaches."""
    play = Play(Kitchen(step_s=PHYSICS_STEP_S))
    rows: dict[str, list[object]] = defaultdict(list)
    teacher = Oracle()
    acts = mind or Stumbling(teacher)
    for seed in seeds:
        teacher.begin(seconds_for(seed), stream(seed, "mind"))
        play.run(acts, seed, _writer(rows, seed, teacher), _REST_S)
        advance(1)
    return Recording(**{name: np.array(values) for name, values in rows.items()})


def _writer(
    rows: dict[str, list[object]], seed: int, teacher: Oracle
) -> Callable[[Look, SubGoal], None]:
    def write(look: Look, _: SubGoal) -> None:
        rows["images"].append(look.image())
        rows["t_s"].append(look.t_s)
        rows["episode"].append(seed)
        rows["free"].append(look.free)
        rows["answer"].append(SUBGOALS.index(teacher.decide(look)))
        rows["seconds"].append(seconds_for(seed))
        rows["cans"].append([_where(can) for can in look.truth.cans])
        rows["tool"].append(_where(look.tool_m))
        rows["holding"].append(look.holding)

    return write


def _where(position_m: Array) -> int:
    """The place that something stands at or is over and low, or ELSEWHERE."""
    away = [np.hypot(*(position_m[:2] - place_xy(place))) for place in range(PLACES)]
    nearest = int(np.argmin(away))
    return nearest if away[nearest] < NEAR_PLACE_M and position_m[2] < _LOW_M else ELSEWHERE
