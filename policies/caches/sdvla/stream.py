"""One robot's SD-VLA, frame by frame: gate, refresh, cached step."""

from dataclasses import dataclass

import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla.decision import Decision, Verdict
from tandem.policies.caches.sdvla.engine import Engine
from tandem.policies.caches.sdvla.history import Keep
from tandem.policies.caches.sdvla.model import SdVla
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """What one frame gave."""

    hidden: Tensor  # [readout, width] after the trunk's final norm
    verdict: Verdict

    @property
    def refreshed(self) -> int | None:
        """Topmost level refreshed, None for none."""
        return self.verdict.top


class Stream:
    """Holds references, cache and history of one stream. Belongs to one thread."""

    def __init__(
        self,
        model: SdVla,
        recache: Recache,
        keep: Keep | None = None,
        renew: int | None = None,
    ) -> None:
        """keep: which frames are held. renew: see `Engine`."""
        self.model = model
        self.decision = Decision(model.gate, recache)
        self.engine = Engine(model.trunk, model.geometry, keep, renew)
        self.reset()

    def reset(self) -> None:
        """Another scene: nothing is kept. `instruct` comes next."""
        self.engine.reset()
        self.decision.reset()
        self._began_s = 0.0

    @torch.no_grad()
    def instruct(self, text: Tensor) -> None:
        """text int64 [text], token numbers, padded as the model was trained."""
        self.engine.instruct(self.model.bos(), self.model.trunk.embed(text))

    def force_refresh(self, top: int = 0) -> None:
        """The next frame refreshes level `top` and all below it."""
        self.decision.force(top)

    @torch.no_grad()
    def step(self, features: Tensor, time_s: float) -> Step:
        """features [N, D] of the whole vision tower, captured at time_s."""
        features = features[None]
        if self.model.partition.observe(features):
            # Past frames, too, were cut along other lines.
            self.engine.window.frames.clear()
            self.decision.force()
        verdict = self.decision.on(features)
        if verdict.top is not None:
            levels = range(verdict.top, self.model.levels)
            fresh = [self.model.static(features, level)[0] for level in levels]
            self.engine.refresh(verdict.top, fresh)
        if not self.engine.window.frames:
            self._began_s = time_s
        since = torch.tensor([time_s - self._began_s], dtype=torch.float64, device=features.device)
        tokens = self.model.dynamic(features, since)[0]
        hidden = self.engine.advance(tokens, self.model.asks(since)[0], time_s)
        return Step(hidden, verdict)
