"""The policy as it runs: one look at a time, what was computed before is kept.

A frame goes through the stem once in its life. Its rows in the trunk are computed once per refresh
of the statics, and only when they are asked for. Statics are refreshed when System 1 has finished a
sub-goal, since then the scene has changed for good.
"""

from dataclasses import dataclass

import numpy as np
import torch
from tandem.policies.memory import history
from tandem.policies.memory.model import MemoryModel, Rows, each
from tandem.policies.memory.subgoals import (
    INSTRUCTION,
    SECONDS,
    SUBGOALS,
    SubGoal,
    seconds_of,
)
from torch import Tensor


@dataclass
class _Kept:
    """A frame in memory."""

    t_s: float
    tokens: Tensor  # [1, dynamic, width]
    version: int = -1  # of the statics that `rows` were computed with
    rows: Rows | None = None


class MemoryPolicy:
    """`remembers`: False cuts the history to the newest frame, with the same weights."""

    def __init__(self, model: MemoryModel, remembers: bool = True) -> None:
        self.model, self.remembers = model, remembers
        self.begin(INSTRUCTION.format(SECONDS[0]), np.random.default_rng(0))

    def begin(self, instruction: str, rng: np.random.Generator) -> None:
        """Forget everything. Raises RefusedError if the instruction is not understood."""
        self._seconds = torch.tensor([seconds_of(instruction)])
        self._rng = rng
        self._frames: list[_Kept] = []
        self._statics: Rows = []
        self._version = -1

    @torch.inference_mode()
    def see(self, image: np.ndarray, t_s: float, refresh: bool) -> None:
        """Take in a frame [128, 128, 3] uint8; `refresh` makes it the reference of the statics."""
        features = self.model.features(torch.from_numpy(image)[None])
        self._frames.append(_Kept(t_s, self.model.dynamic(features)))
        if len(self._frames) > 2 and t_s - self._frames[1].t_s > history.KEPT_S:
            del self._frames[1]  # the first stays
        if not self.remembers:
            self._frames = self._frames[-1:]
        if refresh or not self._statics:
            self._statics = self.model.static_rows(features)
            self._version += 1

    @torch.inference_mode()
    def chances(self) -> np.ndarray:
        """[answers] probabilities of SUBGOALS, as learned."""
        return self._logits().softmax(-1).numpy()

    def decide(self) -> SubGoal:
        """Draw the next sub-goal."""
        chances = self.chances().astype(float)
        return SUBGOALS[int(self._rng.choice(len(chances), p=chances / chances.sum()))]

    def _logits(self) -> Tensor:
        """[answers] from the frames that `history` selects."""
        times = [frame.t_s for frame in self._frames]
        chosen = [self._frames[i] for i in history.select(times)]
        self._compute([frame for frame in chosen if frame.version != self._version])
        kept = [frame.rows for frame in chosen if frame.rows is not None]
        rows = [
            (torch.cat([k for k, _ in layer])[None], torch.cat([v for _, v in layer])[None])
            for layer in zip(*kept, strict=True)
        ]
        ages = torch.tensor([[times[-1] - frame.t_s for frame in chosen]], dtype=torch.float32)
        first = torch.zeros(ages.shape, dtype=torch.bool)
        first[0, 0] = self.remembers
        held = torch.ones(ages.shape, dtype=torch.bool)
        return self.model.ask(self._statics, rows, ages, first, held, self._seconds)[0]

    def _compute(self, stale: list[_Kept]) -> None:
        if not stale:
            return
        count = len(stale)
        statics = each(self._statics, lambda rows: rows.expand(count, -1, -1, -1))
        rows = self.model.frame_rows(torch.cat([frame.tokens for frame in stale]), statics)
        for i, frame in enumerate(stale):
            frame.rows = [(key[i : i + 1], value[i : i + 1]) for key, value in rows]
            frame.version = self._version
