"""What System 1 learns from: states with expert chunks, and latents as old as they may be.

Demonstrations bring a latent per frame that System 2 saw, so each time a sample is drawn its latent
gets another age.
"""

from dataclasses import dataclass

import numpy as np
from tandem.policies.s1.inputs import state_vector
from tandem.tools.train.expert import STEP_S, Cell

Array = np.ndarray
LEAD_STEPS = 12  # the first frame stands for the time before the episode, when nothing moved
AGE_MIN_S, AGE_MAX_S = 0.05, 0.60
GAP_S = 0.25


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of a head, leading dimension [B]."""

    state: Array  # [B, S]
    latent: Array  # [B, K·D]
    before: Array  # [B, K·D]
    times: Array  # [B, 2] age and gap, s
    chunk: Array  # [B, H, D]


@dataclass(frozen=True)
class Track:
    """Latents of all demonstrations at a fixed S2 rate.

    Episode e owns rows `first[e]` to `last[e]`; its k-th latent saw step
    `phase[e] + every·k − LEAD_STEPS`.
    """

    latent: Array  # [R, K·D] float16
    first: Array  # [E]
    last: Array  # [E]
    phase: Array  # [E]
    every: int

    def row_of(self, episode: Array, step: Array) -> tuple[Array, Array]:
        """Row of the newest latent that saw a step not after `step`, and the step that it saw."""
        k = (step + LEAD_STEPS - self.phase[episode]) // self.every
        row = np.clip(self.first[episode] + k, self.first[episode], self.last[episode])
        seen = self.phase[episode] + self.every * (row - self.first[episode]) - LEAD_STEPS
        return row, seen


class Demonstrated:
    """Samples of demonstrations: recorded states, and states beside them."""

    def __init__(
        self,
        track: Track,
        cells: list[Cell],
        chunks: list[Array],
        demos: dict[str, Array],
        keep: Array,
    ) -> None:
        """`cells`, `chunks`: variants of the same M recorded steps; `keep` [M] bool: to be used."""
        self._track = track
        self._states = [state_vector(c.q, c.dq, c.gripper, c.width) for c in cells]
        self._chunks = chunks
        starts = np.flatnonzero(np.diff(demos["episode"], prepend=-1))
        self._episode = np.cumsum(np.diff(demos["episode"], prepend=-1) != 0) - 1
        self._step = np.arange(len(self._episode)) - starts[self._episode]
        self._last_jump = _last_jump(demos["jumped"], self._episode, self._step)
        self._rows = np.flatnonzero(keep)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def states(self) -> Array:
        return self._states[0][self._rows]

    def chunks(self) -> Array:
        return self._chunks[0][self._rows]

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """Up to `count` samples with random variants and ages."""
        rows = self._rows[rng.integers(len(self._rows), size=2 * count)]
        track = self._track
        newest, age_s = self._newest(rows, rng)
        # A latent from before the jump says nothing of where the cube is now.
        seen = self._step[rows] - age_s / STEP_S
        good = np.flatnonzero(self._last_jump[rows] <= seen + 1e-6)[:count]
        rows, newest, age_s = rows[good], newest[good], age_s[good]
        back = round(GAP_S / STEP_S / track.every + 0.49)
        before = np.maximum(newest - back, track.first[self._episode[rows]])
        gap_s = (newest - before) * track.every * STEP_S
        variant = rng.integers(len(self._states), size=len(rows))
        return Batch(
            state=_pick(self._states, variant, rows),
            latent=track.latent[newest].astype(np.float32),
            before=track.latent[before].astype(np.float32),
            times=np.stack([age_s, gap_s], -1).astype(np.float32),
            chunk=_pick(self._chunks, variant, rows),
        )

    def _newest(self, rows: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        wanted_s = draw_delay_s(rng, len(rows))
        step = np.floor(self._step[rows] - wanted_s / STEP_S).astype(int)
        newest, seen = self._track.row_of(self._episode[rows], step)
        return newest, (self._step[rows] - seen) * STEP_S


def draw_delay_s(rng: np.random.Generator, count: int) -> Array:
    """From exposure until S1 could plan with it: mostly around 0.1 s, now and then much more."""
    usual = rng.uniform(AGE_MIN_S, 0.18, count)
    late = rng.uniform(0.15, AGE_MAX_S - 0.1, count)
    return np.where(rng.random(count) < 0.75, usual, late)


def _pick(variants: list[Array], variant: Array, rows: Array) -> Array:
    out = variants[0][rows]
    for i in range(1, len(variants)):
        chosen = variant == i
        out[chosen] = variants[i][rows[chosen]]
    return out


def _last_jump(jumped: Array, episode: Array, step: Array) -> Array:
    """[M] step of the newest jump in the episode so far, −1000 if none."""
    marks = np.where(jumped, step, -1000)
    out = np.empty_like(marks)
    for e in range(episode.max() + 1):
        own = episode == e
        out[own] = np.maximum.accumulate(marks[own])
    return out
