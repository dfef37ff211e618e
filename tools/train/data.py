"""Making the training data: demonstrations and clips, from seeds, with as many processes as wanted.

The folder that comes out holds plain .npy files, one row per step or clip:

    demos/  images [M,128,128,3] uint8 · cubes [M,6,3] · drift [M,3] m/s · q_cmd, dq_cmd, q [M,7]
            gripper, width [M] · actions [M,8] (the expert's command one step later) · valid [M]
            episode, colour, task, held, kind [M] · jumped [M] (the cube has just been moved)
            chunks [M,16,8] (what the expert would do from here, imagined)
    clips/  images [N,5,128,128,3] uint8 · cubes [N,5,6,3] · held [N,5]
            event, event_frame, event_colour [N]
    drawers/  clips of a cell with a drawer: drawer_m, drawer_px [N,5] beside the same arrays

Colours count in the order of `drivers.sim.scene.COLOURS`; NaN marks a cube that is not in play,
−1 no colour. The same seeds give the same data, whatever the number of processes.
"""

import json
import multiprocessing as mp
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from tandem.drivers.sim.world import World
from tandem.tools.train import clips, episodes, labels
from tandem.tools.train.expert import Expert
from tandem.tools.train.progress import Progress

Array = np.ndarray
PHYSICS_STEP_S = 0.002
_FIRST_SEEDS = {"demos": 0, "clips": 10_000_000, "drawers": 20_000_000}
_PER_JOB = {"demos": 4, "clips": 50, "drawers": 50}
_KINDS = {  # what is not float32
    "images": np.uint8, "valid": np.bool_, "jumped": np.bool_, "episode": np.int32,
    "held": np.int8, "colour": np.int8, "task": np.int8, "kind": np.int8,
    "event": np.int8, "event_frame": np.int8, "event_colour": np.int8,
}  # fmt: skip


@dataclass(frozen=True)
class Amounts:
    """How much data to make."""

    demos: int = 700
    clips: int = 9000
    drawers: int = 2000
    seed: int = 0
    processes: int = 2


@dataclass(frozen=True)
class _Job:
    kind: str  # of the folder: demos, clips, drawers
    seeds: tuple[int, ...]
    folder: Path  # its pieces


def make(folder: Path, amounts: Amounts, progress: Progress) -> dict[str, object]:
    """Fill `folder` (replacing what is there) and return a summary of what was made."""
    building = folder.with_name(folder.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    summary: dict[str, object] = asdict(amounts)
    try:
        for kind in _FIRST_SEEDS:
            count = getattr(amounts, kind)
            if count:
                jobs = _jobs(kind, count, amounts.seed, building / "pieces")
                pieces = _run(jobs, amounts.processes, progress.part(kind, count))
                summary[kind] = _merge(pieces, building / kind)
        _label(building / "demos")
        (building / "summary.json").write_text(json.dumps(summary, indent=1))
        shutil.rmtree(building / "pieces", ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return summary


def load(folder: Path) -> dict[str, Array]:
    """The arrays of one kind's folder, images mapped rather than read."""
    return {
        path.stem: np.load(path, mmap_mode="r" if path.stem == "images" else None)
        for path in sorted(folder.glob("*.npy"))
    }


def _jobs(kind: str, count: int, seed: int, folder: Path) -> list[_Job]:
    first, per_job = _FIRST_SEEDS[kind] + 100_000_000 * seed, _PER_JOB[kind]
    seeds = range(first, first + count)
    starts = range(0, count, per_job)
    return [_Job(kind, tuple(seeds[i : i + per_job]), folder) for i in starts]


def _run(jobs: list[_Job], processes: int, advance: Callable[[int], None]) -> list[Path]:
    """Do the jobs, in order of their seeds in the answer; each leaves its arrays in a folder."""
    pieces: list[Path] = []
    for job, piece in zip(jobs, _map(_work, jobs, processes), strict=True):
        pieces.append(piece)
        advance(len(job.seeds))
    return pieces


def _map(work: Callable[[_Job], Path], jobs: list[_Job], processes: int) -> Iterator[Path]:
    if processes == 1:
        yield from map(work, jobs)
        return
    # Spawned, not forked: a forked child would share the parent's threads' locks.
    with mp.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(work, jobs)


@cache
def _tools(with_drawer: bool) -> tuple[World, Expert]:
    return World(step_s=PHYSICS_STEP_S, with_drawer=with_drawer), Expert()


def _work(job: _Job) -> Path:
    world, expert = _tools(job.kind == "drawers")
    made = partial(episodes.demonstrate, world, expert)
    filmed = partial(clips.film, world, expert.arm)
    if job.kind == "demos":
        found = [_numbered(made(seed), seed) for seed in job.seeds]
        rows = _joined([d for d in found if d is not None], np.concatenate)
    else:
        rows = _joined([filmed(seed) for seed in job.seeds], np.stack)
    piece = job.folder / f"{job.kind}_{job.seeds[0]:012d}"
    piece.mkdir(parents=True)
    for name, values in rows.items():
        np.save(piece / f"{name}.npy", values)
    return piece


def _numbered(demo: dict[str, Array] | None, seed: int) -> dict[str, Array] | None:
    return demo and demo | {"episode": np.full(len(demo["q"]), seed % 100_000_000)}


def _joined(
    parts: list[dict[str, Array]], join: Callable[[list[Array]], Array]
) -> dict[str, Array]:
    names = parts[0] if parts else {}
    return {n: join([p[n] for p in parts]).astype(_KINDS.get(n, np.float32)) for n in names}


def _merge(pieces: list[Path], folder: Path) -> int:
    """Join the pieces' arrays into `folder`, deleting them on the way; returns the number of
    rows.
    """
    folder.mkdir()
    total = 0
    names = sorted({p.name for piece in pieces for p in piece.glob("*.npy")})
    for name in names:
        parts = [np.load(p / name, mmap_mode="r") for p in pieces if (p / name).exists()]
        total = sum(len(part) for part in parts)
        shape = (total, *parts[0].shape[1:])
        out = open_memmap(folder / name, mode="w+", dtype=parts[0].dtype, shape=shape)
        row = 0
        for part in parts:
            out[row : row + len(part)] = part
            row += len(part)
        out.flush()
    return total


def _label(folder: Path) -> None:
    """Add `chunks` to demonstrations: what the expert would do from every recorded state."""
    if folder.exists():
        cell = labels.cells_of(load(folder))
        np.save(folder / "chunks.npy", labels.chunks_of(cell))
