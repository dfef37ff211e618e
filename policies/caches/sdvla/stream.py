"""One robot's SD-VLA, frame by frame: gate, refresh, cached step."""

from dataclasses import dataclass

import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla.engine import Engine
from tandem.policies.caches.sdvla.history import Keep
from tandem.policies.caches.sdvla.model import SdVla
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """What one frame gave."""

    hidden: Tensor  # [readout, width] after the trunk's final norm
    refreshed: int | None  # topmost level refreshed, None for none
    scores: list[float]  # of the gate, per level; 1 where there was no reference yet


class Stream:
    """Holds references, cache and history of one stream. Belongs to one thread."""

    def __init__(self, model: SdVla, recache: Recache, keep: Keep | None = None) -> None:
        self.model, self.recache = model, recache
        self.engine = Engine(model.trunk, model.geometry, keep)
        self.reset()

    def reset(self) -> None:
        """Another scene: nothing is kept. `instruct` comes next."""
        self.engine.reset()
        self._references: list[Tensor] = []  # per level: the gate's share of that frame
        self._force: int | None = 0
        self._began_s = 0.0

    @torch.no_grad()
    def instruct(self, text: Tensor) -> None:
        """text int64 [text], token numbers, padded as the model was trained."""
        self.engine.instruct(self.model.bos(), self.model.trunk.embed(text))

    def force_refresh(self, top: int = 0) -> None:
        """The next frame refreshes level `top` and all below it."""
        self._force = top if self._force is None else min(top, self._force)

    @torch.no_grad()
    def step(self, features: Tensor, time_s: float) -> Step:
        """features [N, D] of the whole vision tower, captured at time_s."""
        features = features[None]
        if self.model.partition.observe(features):
            self._regroup()
        now = self.model.gate.now(features)
        top, scores = self._decide(now)
        if top is not None:
            fresh = [self.model.static(features, level) for level in self._levels[top:]]
            self.engine.refresh(top, [tokens[0] for tokens in fresh])
            share = self.model.gate.before(features)
            self._references = [*self._references[:top], *(share for _ in fresh)]
        if not self.engine.window.frames:
            self._began_s = time_s
        at_s = torch.tensor([time_s - self._began_s], dtype=torch.float64, device=now.device)
        tokens = self.model.dynamic(features, at_s)[0]
        hidden = self.engine.advance(tokens, self.model.asks(at_s)[0], time_s)
        return Step(hidden, top, scores)

    @property
    def _levels(self) -> range:
        return range(self.model.levels)

    def _decide(self, now: Tensor) -> tuple[int | None, list[float]]:
        scores = [1.0] * self.model.levels
        if self._references:
            scores = self.model.gate.scores(now, self._references)[0].tolist()
        force, self._force = self._force, None
        return self.recache.decide(scores, force), scores

    def _regroup(self) -> None:
        """Other patches are static from now on: what is cached, and the past frames, were cut along
        other lines."""
        self.engine.window.frames.clear()
        self._force = 0
