"""The policy as it runs: one look at a time, what was computed before is kept.

A frame goes through the stem once in its life. The gate tells from its features whether the scene
has changed since the statics were last refreshed. A frame's rows in the trunk are computed once per
refresh, and only when they are asked for.
"""

from dataclasses import dataclass

import numpy as np
import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla.decision import Decision
from tandem.policies.memory import macs
from tandem.policies.memory.config import INTERVAL_LOOKS, MemoryConfig
from tandem.policies.memory.model import MemoryModel, Question, Rows, each, stacked
from tandem.policies.memory.subgoals import (
    INSTRUCTION,
    SECONDS,
    SUBGOALS,
    SubGoal,
    seconds_of,
)
from torch import Tensor

MAX_AGE_S = 100.0  # statics are refreshed then, whatever the gate says


def recache(config: MemoryConfig) -> Recache:
    """The gate's state machine, new."""
    return Recache(max_age_frames=round(MAX_AGE_S / config.history.look_s))


@dataclass
class Work:
    """Multiply-adds since an episode began."""

    vision: int = 0  # stem and dynamic tokens, of every frame once
    gate: int = 0
    trunk: int = 0  # statics, frames and questions
    trunk_anew: int = 0  # had nothing been kept from one question to the next


@dataclass
class _Kept:
    """A frame in memory."""

    t_s: float
    tokens: Tensor  # [1, dynamic, width]
    version: int = -1  # of the statics that `rows` were computed with
    rows: Rows | None = None


class MemoryPolicy:
    """`remembers`: False shows it the newest frame alone, statics too, with the same weights."""

    def __init__(self, model: MemoryModel, remembers: bool = True) -> None:
        self.model, self.remembers = model, remembers
        self.history = model.config.history
        self._pinned = remembers and self.history.pinned
        self.begin(INSTRUCTION.format(SECONDS[0]), np.random.default_rng(0))

    def begin(self, instruction: str, rng: np.random.Generator) -> None:
        """Forget everything. Raises RefusedError if the instruction is not understood."""
        self._seconds = torch.tensor([seconds_of(instruction)])
        self._rng = rng
        self._frames: list[_Kept] = []
        self._levels: list[Rows] = []
        self._version = -1
        self._looks = 0
        self._decision = Decision(self.model.gate, recache(self.model.config))
        self.refreshed: int | None = None  # topmost level refreshed by the newest frame
        self.work = Work()

    @torch.inference_mode()
    def see(self, image: np.ndarray, t_s: float, handed_over: bool) -> None:
        """Take in a frame [128, 128, 3] uint8; `handed_over`: System 1 has just come free."""
        features = self.model.features(torch.from_numpy(image)[None])
        self.work.vision += macs.look(self.model.config)
        self._keep(_Kept(t_s, self.model.dynamic(features)))
        self.refreshed = self._due(features, handed_over)
        self._looks += 1
        if self.refreshed is not None:
            self._refresh(self.refreshed, features)

    @torch.inference_mode()
    def chances(self) -> np.ndarray:
        """[answers] probabilities of SUBGOALS, as learned."""
        return self._logits().softmax(-1).numpy()

    def decide(self) -> SubGoal:
        """Draw the next sub-goal."""
        chances = self.chances().astype(float)
        return SUBGOALS[int(self._rng.choice(len(chances), p=chances / chances.sum()))]

    def _keep(self, frame: _Kept) -> None:
        """Remember it, and forget what will never be asked for again."""
        past = self._frames if self.remembers else []
        self._frames = [
            kept
            for i, kept in enumerate([*past, frame])
            if (i == 0 and self._pinned) or frame.t_s - kept.t_s <= self.history.kept_s
        ]

    # -- statics ----------------------------------------------------------------------------------

    def _due(self, features: Tensor, handed_over: bool) -> int | None:
        """Topmost level to refresh, None for none."""
        refresh = self.model.config.refresh
        if not self.remembers:
            return 0
        if refresh == "gate":
            verdict = self._decision.on(features)
            self.work.gate += verdict.macs
            return verdict.top
        if refresh == "interval" and self._levels:
            return None if self._looks % INTERVAL_LOOKS else 1
        return 0 if not self._levels or (handed_over and refresh == "hand-over") else None

    def _refresh(self, top: int, features: Tensor) -> None:
        if self.model.config.refresh == "blank":
            features = torch.zeros_like(features)
        self._levels = self._levels[:top]
        for level in range(top, len(self.model.levels)):
            self._levels.append(self.model.level_rows(level, features, self._levels))
        self._version += 1
        self.work.trunk += macs.statics(self.model.config, top)

    # -- questions --------------------------------------------------------------------------------

    def _logits(self) -> Tensor:
        """[answers] from the frames that the history selects."""
        times = [frame.t_s for frame in self._frames]
        chosen = [self._frames[i] for i in self.history.select(times)]
        statics = stacked(self._levels)
        stale = [frame for frame in chosen if frame.version != self._version]
        self._compute(stale, statics)
        kept = [frame.rows for frame in chosen if frame.rows is not None]
        rows = [
            (torch.cat([k for k, _ in layer])[None], torch.cat([v for _, v in layer])[None])
            for layer in zip(*kept, strict=True)
        ]
        ages = torch.tensor([[times[-1] - frame.t_s for frame in chosen]], dtype=torch.float32)
        first = torch.zeros(ages.shape, dtype=torch.bool)
        first[0, 0] = self._pinned
        held = torch.ones(ages.shape, dtype=torch.bool)
        self._count(len(stale), len(chosen))
        return self.model.ask(statics, rows, Question(ages, first, held, self._seconds))[0]

    def _compute(self, stale: list[_Kept], statics: Rows) -> None:
        if not stale:
            return
        count = len(stale)
        spread = each(statics, lambda rows: rows.expand(count, -1, -1, -1))
        rows = self.model.frame_rows(torch.cat([frame.tokens for frame in stale]), spread)
        for i, frame in enumerate(stale):
            frame.rows = [(key[i : i + 1], value[i : i + 1]) for key, value in rows]
            frame.version = self._version

    def _count(self, stale: int, chosen: int) -> None:
        config, asked = self.model.config, macs.ask(self.model.config, chosen)
        self.work.trunk += macs.frames(config, stale) + asked
        self.work.trunk_anew += macs.statics(config, 0) + macs.frames(config, chosen) + asked
