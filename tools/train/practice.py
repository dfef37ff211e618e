"""The policy practises and is corrected, and is judged, in as many processes as wanted."""

import multiprocessing as mp
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tandem.drivers.sim.world import World
from tandem.policies.s1.policy import ChunkPolicy
from tandem.policies.s2.policy import SdVla
from tandem.tools.evaluate.scenario import scenario
from tandem.tools.train import labels, rollout
from tandem.tools.train.corpus import Batch
from tandem.tools.train.data import PHYSICS_STEP_S
from tandem.tools.train.expert import Expert

Array = np.ndarray
KINDS = (("pick", "none"), ("pick", "jump"), ("pick", "slide"), ("bin", "none"))


@dataclass(frozen=True)
class _Job:
    s1: Path
    s2: Path
    seed: int
    kind: int = -1  # index of KINDS to be judged in, or −1 to practise


@dataclass(frozen=True)
class Practised:
    batch: Batch
    success: float


def practise(
    s1: Path, s2: Path, seeds: range, processes: int, advance: Callable[..., None]
) -> Practised:
    """Episodes in scenes like those of the demonstrations, labelled by the expert."""
    jobs = [_Job(s1, s2, seed) for seed in seeds]
    found: list[dict[str, Array]] = []
    won = 0
    for outcome, rows in _each(_practise, jobs, processes):
        found.append(rows)
        won += outcome.success
        advance(1, note=f"{won} of {len(found)}")
    rows = {name: np.concatenate([f[name] for f in found]) for name in found[0]}
    return Practised(rollout.samples_of(rows, labels.chunks_of), won / len(jobs))


def judge(
    s1: Path, s2: Path, episodes: int, seed: int, processes: int, advance: Callable[..., None]
) -> dict[str, Any]:
    """Successes of `episodes` scenes per kind; scenes are those that `tandem eval` would draw."""
    jobs = [_Job(s1, s2, seed + i, k) for k in range(len(KINDS)) for i in range(episodes)]
    found: dict[str, list[rollout.Outcome]] = {"/".join(k): [] for k in KINDS}
    for job, outcome in zip(jobs, _each(_judge, jobs, processes), strict=True):
        found["/".join(KINDS[job.kind])].append(outcome)
        advance(1)
    return {name: _figures(outcomes) for name, outcomes in found.items()}


def _figures(outcomes: list[rollout.Outcome]) -> dict[str, Any]:
    won = [o for o in outcomes if o.success and not o.lifted_wrong]
    level1, level2 = np.mean([o.refreshed for o in outcomes], axis=0)
    return {
        "success": len(won),
        "episodes": len(outcomes),
        "wrong cube lifted": sum(o.lifted_wrong for o in outcomes),
        "mean time s": round(float(np.mean([o.steps for o in outcomes])) * rollout.STEP_S, 2),
        "refreshed L1, L2": [round(float(level1), 4), round(float(level2), 4)],
    }


def _each(work: Callable[[_Job], Any], jobs: list[_Job], processes: int) -> Iterator[Any]:
    if processes == 1:
        yield from map(work, jobs)
        return
    with mp.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(work, jobs)


@cache
def _stage(s1: Path, s2: Path) -> tuple[World, ChunkPolicy, SdVla, Expert]:
    world = World(step_s=PHYSICS_STEP_S)
    return world, ChunkPolicy(s1), SdVla.from_weights(s2, threads=1), Expert()


def _practise(job: _Job) -> tuple[rollout.Outcome, dict[str, Array]]:
    world, s1, s2, expert = _stage(job.s1, job.s2)
    rng = np.random.default_rng([job.seed, 41])
    pace = rollout.Pace(s2_delay=int(rng.integers(1, 4)), replan=int(rng.choice([2, 2, 4])))
    return rollout.practise(rollout.Pilot(world, s1, s2, pace), expert, job.seed)


def _judge(job: _Job) -> rollout.Outcome:
    world, s1, s2, _ = _stage(job.s1, job.s2)
    task, disturbance = KINDS[job.kind]
    pilot = rollout.Pilot(world, s1, s2, rollout.Pace())
    return rollout.evaluate(pilot, scenario(job.seed, 0, task, disturbance))
