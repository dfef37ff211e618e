"""Pairs to train System 2 on: a frame of reference, the frames since, and what changed between.

Clips show every kind of change with the arm anywhere; demonstrations show true sequences in time.
The statics stay stale in half of the pairs in which something has moved: only then must the dynamic
tokens carry the change, and only then do they learn to.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from tandem.policies.s2 import text
from tandem.runtime.errors import ConfigError
from tandem.tools.train.s2_camera import patches, pixels, projection

Array = np.ndarray
MOVED, APPEARED, VANISHED, LIGHT, DRAWER = range(1, 6)  # kinds of event in a clip
QUESTIONS = 3
STEP_S = 0.05
SPEED_LIMIT_M_S = 0.15  # faster is a jump or a carried cube: no velocity to learn
STALE_LIGHT = 0.2


@dataclass(frozen=True)
class Tuning:
    """How pairs are drawn. Shares are probabilities."""

    fresh: float = 0.35  # of unchanged pairs: statics from the newest frame
    stale_changed: float = 0.5  # of changed pairs: statics from before the change
    crossing: float = 0.6  # of pairs from clips: the event lies between the two frames
    frames: int = 4
    longest_gap: int = 40  # S2 frames between reference and now, in demonstrations


@dataclass
class Pairs:
    """B pairs with W frames. Positions in metres, NaN where there is no cube."""

    images: Array  # [B, 1 + W, 128, 128, 3] uint8: the reference, then the window, newest first
    fresh: Array  # [B, 2] bool per level: statics from the newest frame
    changed: Array  # [B, 2] bool per level: what a static level holds has changed
    cubes_reference: Array  # [B, 6, 3] at the reference
    cubes_then: Array  # [B, 6, 3] at the frame that L2 was taken from
    cubes_now: Array  # [B, 6, 3]
    velocity: Array  # [B, 6, 2] m/s, NaN where unknown
    held: Array  # [B] colour in the hand now, −1 for none
    colours: Array  # [B, Q] asked for
    tasks: Array  # [B, Q]
    text: Array  # [B, Q, 12] int64


class Clips:
    """Random scenes of five frames with one event."""

    def __init__(self, folder: Path, rows: slice) -> None:
        self.images = np.load(folder / "images.npy", mmap_mode="r")[rows]
        read = {p.stem: np.load(p)[rows] for p in folder.glob("*.npy") if p.stem != "images"}
        self.cubes, self.held = read["cubes"], read["held"].astype(int)
        self.event, self.colour = read["event"].astype(int), read["event_colour"].astype(int)
        self.at = read["event_frame"].astype(int)
        no_drawer = np.zeros(self.held.shape)
        self.drawer_m = read.get("drawer_m", no_drawer)
        self.drawer_px = read.get("drawer_px", no_drawer)

    def __len__(self) -> int:
        return len(self.event)

    def between(self, clip: Array, i: Array, j: Array) -> Array:
        """Kind of event [B] between frames i and j, 0 for none."""
        crossed = (i < self.at[clip]) != (j < self.at[clip])
        return np.where(crossed, self.event[clip], 0)

    def draw(self, rng: np.random.Generator, count: int, tuning: Tuning) -> Pairs:
        clip = rng.integers(len(self), size=count)
        i = rng.integers(5, size=count)
        j = (i + rng.integers(1, 5, size=count)) % 5
        cross = (self.event[clip] > 0) & (rng.random(count) < tuning.crossing)
        at = self.at[clip]
        before = np.floor(rng.random(count) * at).astype(int)
        after = at + np.floor(rng.random(count) * (5 - at)).astype(int)
        back = rng.random(count) < 0.3  # what appears may as well vanish
        i = np.where(cross, np.where(back, after, before), i)
        j = np.where(cross, np.where(back, before, after), j)
        return self.pairs(clip, i, j, rng, tuning)

    def pairs(
        self, clip: Array, i: Array, j: Array, rng: np.random.Generator, tuning: Tuning
    ) -> Pairs:
        """Reference frame i, newest frame j of each clip; no history."""
        kind = self.between(clip, i, j)
        then, now, held = self.cubes[clip, i], self.cubes[clip, j], self.held[clip, j]
        moved = moved_cubes(then, now, 0.01)
        changed = np.stack([kind == LIGHT, moved.any(1) | (kind == LIGHT)], 1)
        fresh = draw_fresh(rng, changed, tuning)
        first = pick_first(moved, rng)
        colours = ask(now, first, rng)
        images = np.stack([self.images[clip, i], self.images[clip, j]], 1)
        unknown = np.full((len(clip), 6, 2), np.nan)
        return finish(images, fresh, changed, then, now, unknown, held, colours, rng)


class Demos:
    """Demonstrations at 20 Hz; System 2 sees about every second frame."""

    def __init__(self, folder: Path, last: int = 0) -> None:
        """All episodes but the last `last`, or with `last` < 0 only those."""
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        names = ("cubes", "held", "episode", "colour", "task", "kind")
        read = {name: np.load(folder / f"{name}.npy") for name in names}
        self.cubes, self.held = read["cubes"], read["held"].astype(int)
        self.colour, self.kind = read["colour"].astype(int), read["kind"].astype(int)
        self.task = read["task"].astype(int)
        _, self.starts, self.counts = np.unique(
            read["episode"], return_index=True, return_counts=True
        )
        self.start_of = np.repeat(self.starts, self.counts)
        number = np.repeat(np.arange(len(self.starts)), self.counts)
        edge = len(self.starts) - abs(last)
        self.rows = np.flatnonzero(number >= edge if last < 0 else number < edge)
        self.episodes = np.arange(edge, len(self.starts)) if last < 0 else np.arange(edge)

    def draw(self, rng: np.random.Generator, count: int, tuning: Tuning) -> Pairs:
        stride = rng.choice([1, 2, 2, 2, 2, 3])
        back = stride * (tuning.frames - 1)
        usable = self.rows[self.rows - self.start_of[self.rows] >= back]
        now = rng.choice(usable, count)
        longest = np.minimum((now - self.start_of[now]) // stride, tuning.longest_gap)
        gap = np.floor(rng.random(count) * (longest + 1)).astype(int)
        return self.pairs(now - gap * stride, now, stride, rng, tuning)

    def pairs(
        self, then: Array, now: Array, stride: int, rng: np.random.Generator, tuning: Tuning
    ) -> Pairs:
        """Reference rows and newest rows; the window goes back from `now` in strides."""
        window = now[:, None] - stride * np.arange(tuning.frames)
        before, after = self.cubes[then], self.cubes[now]
        moved = moved_cubes(before, after, 0.01)
        changed = np.stack([np.zeros(len(now), bool), moved.any(1)], 1)
        fresh = draw_fresh(rng, changed, tuning)
        velocity = (after - self.cubes[now - stride])[..., :2] / (stride * STEP_S)
        velocity[np.linalg.norm(velocity, axis=-1) > SPEED_LIMIT_M_S] = np.nan
        first = np.where(rng.random(len(now)) < 0.7, self.colour[now], pick_first(moved, rng))
        colours = ask(after, first, rng)
        images = self.images[np.concatenate([then[:, None], window], 1)]
        held = self.held[now]
        return finish(images, fresh, changed, before, after, velocity, held, colours, rng)


def moved_cubes(then: Array, now: Array, limit_m: float) -> Array:
    """Which cubes [B, 6] are elsewhere by more than `limit_m`, have come or gone."""
    here, there = np.isfinite(then[..., 0]), np.isfinite(now[..., 0])
    far = np.linalg.norm(np.nan_to_num(now - then), axis=-1) > limit_m
    return (here != there) | (here & there & far)


def draw_fresh(rng: np.random.Generator, changed: Array, tuning: Tuning) -> Array:
    """Per level [B, 2]: whether the statics are those of the newest frame. L1 fresh implies L2."""
    count = len(changed)
    stale = np.where(changed[:, 1], tuning.stale_changed, 1 - tuning.fresh)
    stale = np.where(changed[:, 0], STALE_LIGHT, stale)
    second = rng.random(count) >= stale
    first = second & (changed[:, 0] | (rng.random(count) < 0.5))
    return np.stack([first, second], 1)


def pick_first(moved: Array, rng: np.random.Generator) -> Array:
    """A moved cube's colour for each pair [B], −1 where nothing moved."""
    score = np.where(moved, rng.random(moved.shape), -1.0)
    return np.where(moved.any(1), score.argmax(1), -1)


def ask(now: Array, first: Array, rng: np.random.Generator) -> Array:
    """Colours to ask for [B, QUESTIONS]: `first` if it is there, then others that are there."""
    there = np.isfinite(now[..., 0])
    score = np.where(there, rng.random(there.shape), -1.0)
    asked = np.flatnonzero(first >= 0)
    asked = asked[there[asked, first[asked]]]
    score[asked, first[asked]] = 2.0
    order = np.argsort(-score, axis=1)[:, :QUESTIONS]
    absent = np.take_along_axis(score, order, 1) < 0
    return np.where(absent, order[:, :1], order)


_TOKENS = text.table()


def finish(
    images: Array,
    fresh: Array,
    changed: Array,
    then: Array,
    now: Array,
    velocity: Array,
    held: Array,
    colours: Array,
    rng: np.random.Generator,
) -> Pairs:
    """Adds instructions: any task in any words about each colour asked for."""
    tasks = rng.integers(len(text.TASKS), size=colours.shape)
    templates = rng.integers(_TOKENS.shape[1], size=colours.shape)
    tokens = _TOKENS[tasks, templates, colours]
    static = np.where(fresh[:, 1, None, None], now, then)
    return Pairs(images, fresh, changed, then, static, now, velocity, held, colours, tasks, tokens)


@dataclass(frozen=True)
class Part:
    """What is trained on, or what is held out."""

    clips: Clips
    drawers: Clips
    demos: Demos


def split(data: Path, clips: int, drawers: int, episodes: int) -> tuple[Part, Part]:
    """What is trained on, and what is held out: so many of each kind, the last ones.

    Raises:
        ConfigError: the folder lacks a kind.
    """
    for kind in ("clips", "drawers", "demos"):
        if not (data / kind).is_dir():
            raise ConfigError(f"{data} has no {kind}/; make it: tandem train --keep-data {data}")
    trained = Part(
        Clips(data / "clips", slice(0, -clips)),
        Clips(data / "drawers", slice(0, -drawers)),
        Demos(data / "demos", last=episodes),
    )
    held = Part(
        Clips(data / "clips", slice(-clips, None)),
        Clips(data / "drawers", slice(-drawers, None)),
        Demos(data / "demos", last=-episodes),
    )
    return trained, held


@cache
def _camera() -> Array:
    return projection()


def cube_pixels(cubes_m: Array) -> Array:
    """Pixel [..., 6, 2] of each cube [..., 6, 3]."""
    return pixels(_camera(), cubes_m)


def cube_patches(cubes_m: Array) -> Array:
    """Patch [..., 6] of each cube [..., 6, 3], −1 where it is not seen."""
    return patches(_camera(), cubes_m)
