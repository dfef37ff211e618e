"""Trained weights are judged in closed loop, in as many processes as wanted.

Practising with corrections by the expert (DAgger, Ross et al. 2011) was tried here and left out:
with a perfect System 2 nothing was left to correct, since the states beside the recorded ones are
labelled already; with the real one the corrections taught System 1 to distrust what it is told,
and success fell from 15 of 15 to 10 of 15.
"""

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
from tandem.tools.train import rollout
from tandem.tools.train.data import PHYSICS_STEP_S

KINDS = (("pick", "none"), ("pick", "jump"), ("pick", "slide"), ("bin", "none"))


@dataclass(frozen=True)
class _Job:
    s1: Path
    s2: Path
    seed: int
    index: int
    kind: int  # index of KINDS


def judge(
    s1: Path, s2: Path, episodes: int, seed: int, processes: int, advance: Callable[..., None]
) -> dict[str, Any]:
    """Successes of `episodes` scenes per kind: those that `tandem eval` draws for this seed."""
    jobs = [_Job(s1, s2, seed, i, k) for k in range(len(KINDS)) for i in range(episodes)]
    found: dict[str, list[rollout.Outcome]] = {"/".join(k): [] for k in KINDS}
    for job, outcome in zip(jobs, _each(jobs, processes), strict=True):
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


def _each(jobs: list[_Job], processes: int) -> Iterator[rollout.Outcome]:
    if processes == 1:
        yield from map(_play, jobs)
        return
    with mp.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_play, jobs)


@cache
def _stage(s1: Path, s2: Path) -> rollout.Pilot:
    world = World(step_s=PHYSICS_STEP_S)
    return rollout.Pilot(world, ChunkPolicy(s1), SdVla.from_weights(s2, threads=1), rollout.Pace())


def _play(job: _Job) -> rollout.Outcome:
    task, disturbance = KINDS[job.kind]
    return rollout.play(_stage(job.s1, job.s2), scenario(job.seed, job.index, task, disturbance))
