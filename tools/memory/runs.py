"""Many episodes of several policies, on the same scenes, shared by processes.

An episode's result depends on its seed and its policy alone, not on who plays it or in what order.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from tandem.drivers.sim.kitchen import Kitchen
from tandem.policies.memory.config import Refresh
from tandem.tools.evaluate.seeds import scene_seed
from tandem.tools.memory.episode import Episode, Play
from tandem.tools.memory.judge import Figures, fold
from tandem.tools.memory.minds import TICK_S, Memoryless, Oracle
from tandem.tools.memory.record import PHYSICS_STEP_S
from tandem.tools.memory.work import Kept, KeptBook

if TYPE_CHECKING:
    from tandem.tools.memory.learned import Learned


class PolicyName(StrEnum):
    ORACLE = "oracle"
    MEMORYLESS = "memoryless"
    SDVLA_CUT = "sdvla-cut"  # the learned one, shown only the newest frame
    SDVLA = "sdvla"

    @property
    def learned(self) -> bool:
        return self in (PolicyName.SDVLA, PolicyName.SDVLA_CUT)


WEIGHTS = "memory_s2"

Tell = Callable[[str, int, int], None]  # policy, episodes done, of


@dataclass(frozen=True)
class Run:
    """One policy on all scenes."""

    policy: PolicyName
    figures: Figures
    episodes: list[Episode]
    kept: Kept | None  # of a learned policy


@dataclass(frozen=True)
class Wish:
    policies: list[PolicyName]
    episodes: int
    seed: int
    jobs: int
    weights: str | Path = WEIGHTS
    refresh: Refresh | None = None  # of the static tokens; None: by whom the weights were made for


def evaluate(wish: Wish, tell: Tell) -> Iterator[Run]:
    """A run a policy, each as soon as it is there.

    Raises:
        WeightsError: the learned policy's weights are missing or damaged; before anything is run.
    """
    if any(policy.learned for policy in wish.policies):
        from tandem.policies.memory import storage

        storage.load(wish.weights)
    seeds = [scene_seed(wish.seed, i) for i in range(wish.episodes)]
    for policy in wish.policies:
        episodes: list[Episode] = []
        for episode in _play_all(policy, wish, seeds):
            episodes.append(episode)
            tell(policy, len(episodes), len(seeds))
        kept = [episode.kept for episode in episodes if episode.kept is not None]
        figures = fold([episode.verdict for episode in episodes])
        yield Run(policy, figures, episodes, sum(kept, Kept()) if kept else None)


def _play_all(policy: PolicyName, wish: Wish, seeds: list[int]) -> Iterator[Episode]:
    """In order of the seeds."""
    work = [(policy, wish, seed) for seed in seeds]
    if wish.jobs == 1:
        yield from map(_one, work)
        return
    with ProcessPoolExecutor(wish.jobs, get_context("spawn")) as pool:
        try:
            yield from pool.map(_one, work)
        finally:
            pool.shutdown(cancel_futures=True)


def _one(work: tuple[PolicyName, Wish, int]) -> Episode:
    policy, wish, seed = work
    if policy is PolicyName.ORACLE:
        return _table().run(Oracle(), seed)
    if policy is PolicyName.MEMORYLESS:
        return _table().run(Memoryless(), seed)
    mind = _learned(str(wish.weights), policy is PolicyName.SDVLA, wish.refresh)
    book = KeptBook(mind.policy)
    episode = _table(mind.policy.history.look_s).run(mind, seed, book.see)
    return replace(episode, kept=book.kept())


@cache
def _table(look_s: float = TICK_S) -> Play:
    return Play(Kitchen(step_s=PHYSICS_STEP_S), look_s)


@cache
def _learned(weights: str, remembers: bool, refresh: Refresh | None) -> "Learned":
    import torch
    from tandem.policies.memory import storage
    from tandem.policies.memory.policy import MemoryPolicy
    from tandem.tools.memory.learned import Learned

    torch.set_num_threads(1)  # the workers share the cores
    model = storage.load(weights)
    model.config = replace(model.config, refresh=refresh or model.config.refresh)
    return Learned(MemoryPolicy(model, remembers))
