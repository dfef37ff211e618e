"""What System 2 says at every frame of the demonstrations.

Half of the episodes through fresh tokens, half through the gated cache: System 1 must cope with
both, and must not learn that what it is told is always new.
"""

import multiprocessing as mp
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.storage import load_model
from tandem.policies.s2.stream import Schedule, encode_episodes
from tandem.policies.s2.text import COLOURS, INSTRUCTIONS
from tandem.tools.train import data
from tandem.tools.train.corpus import LEAD_STEPS, Track
from tandem.tools.train.expert import PICK

Array = np.ndarray
_EVERY = 2  # 10 Hz of the 20 Hz recording
_AT_ONCE = 4  # episodes


@dataclass(frozen=True)
class _Job:
    demos: Path
    s2: Path
    spans: tuple[tuple[int, int], ...]  # rows of whole episodes
    told: tuple[str, ...]
    schedule: Schedule


def track_of(
    demos: Path, s2: Path, seed: int, processes: int, advance: Callable[[int], None]
) -> Track:
    """Latents of all episodes in the folder `demos`, with random paraphrases of their tasks."""
    jobs = _jobs(demos, s2, np.random.default_rng([seed, 23]))
    parts: list[Array] = []
    phase: list[int] = []
    for job, latents in zip(jobs, _each(jobs, processes), strict=True):
        parts += latents
        phase += [job.schedule.phase] * len(latents)
        advance(len(latents))
    lengths = np.array([len(p) for p in parts])
    last = np.cumsum(lengths) - 1
    latent = np.concatenate(parts).reshape(lengths.sum(), -1)
    return Track(latent, last - lengths + 1, last, np.array(phase), _EVERY)


def instruction(task: int, colour: int, rng: np.random.Generator) -> str:
    """A random way to say it."""
    templates = INSTRUCTIONS["pick" if task == PICK else "bin"]
    return templates[rng.integers(len(templates))].format(COLOURS[colour])


def _jobs(demos: Path, s2: Path, rng: np.random.Generator) -> list[_Job]:
    read = {name: np.load(demos / f"{name}.npy") for name in ("episode", "task", "colour")}
    spans = list(pairwise(np.flatnonzero(np.diff(read["episode"], prepend=-1, append=-1))))
    told = [instruction(read["task"][a], read["colour"][a], rng) for a, _ in spans]
    jobs = []
    for number, i in enumerate(range(0, len(spans), _AT_ONCE)):
        strategy = "sdvla" if number % 2 else "none"
        schedule = Schedule(strategy, every=_EVERY, phase=int(rng.integers(_EVERY)))
        part = slice(i, i + _AT_ONCE)
        jobs.append(_Job(demos, s2, tuple(spans[part]), tuple(told[part]), schedule))
    return jobs


def _each(jobs: list[_Job], processes: int) -> Iterator[list[Array]]:
    if processes == 1:
        yield from map(_encode, jobs)
        return
    with mp.get_context("spawn").Pool(
        processes, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        yield from pool.imap(_encode, jobs)


@cache
def _model(path: Path) -> S2Model:
    return load_model(path)


@cache
def _images(demos: Path) -> Array:
    return data.load(demos)["images"]


def _encode(job: _Job) -> list[Array]:
    films = [_led_in(_images(job.demos)[a:b]) for a, b in job.spans]
    streams = encode_episodes(_model(job.s2), films, job.told, job.schedule)
    return [s.latent for s in streams]


def _led_in(images: Array) -> Array:
    return np.concatenate([np.repeat(images[:1], LEAD_STEPS, axis=0), images])
