"""TTF-VLA (Liu et al., AAAI 2026, arXiv 2508.19257; its code): temporal fusion of vision features.

Patches that neither changed nor matter to the text keep the features of an earlier frame. It wants
to be steadier, not faster: the tower and the trunk compute everything, as in the original, whose
"saved" vision operations are those of features that were computed and thrown away.
"""

from dataclasses import dataclass

import torch
from tandem.policies.caches import patches as picture
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.relevance import PATCHES, Relevance, scaled
from tandem.policies.caches.strategy import Attention, Image, Plan
from tandem.policies.trunk.vision import Norm, Vision
from torch import Tensor


@dataclass(frozen=True)
class TtfRule:
    """Published values for OpenVLA. Others are scaled from them."""

    change: float = 0.03  # mean |Δ luma| of normalised pixels above which a patch is anew
    relevant: int = 70  # patches that the text attends to most are always anew
    attention_layer: int = 15
    keyframe: int = 3  # every so many frames everything is anew


class HybridSelector:
    """The rule alone: pixel change or relevance, with keyframes. Ask once a frame."""

    def __init__(self, layout: Layout, grid: int, depth: int, rule: TtfRule) -> None:
        self.rule = rule
        self.grid = grid
        self.relevance = Relevance(layout, scaled(rule.attention_layer, depth))
        self._relevant = round(rule.relevant * grid * grid / PATCHES)
        self.forget()

    def forget(self) -> None:
        self.relevance.forget()
        self._before: Image | None = None
        self._frame = -1

    def anew(self, image: Image, norms: tuple[Norm, ...]) -> list[Tensor] | None:
        """For each normalisation bool [N]: what is computed anew; None on a keyframe."""
        before, self._before = self._before, image.copy()
        self._frame += 1
        if before is None or self.relevance.scores is None or self._frame % self.rule.keyframe == 0:
            return None
        relevant = picture.top(self.relevance.scores, self._relevant)
        changes = (picture.luma_change(before, image, self.grid, norm) for norm in norms)
        return [(change > self.rule.change) | relevant for change in changes]


class Ttf:
    def __init__(
        self,
        layout: Layout,
        grid: int,
        depth: int,
        towers: tuple[tuple[int, Norm], ...],
        rule: TtfRule | None = None,
    ) -> None:
        """towers: which channels of the features come from which: (width, its norm)."""
        self._selector = HybridSelector(layout, grid, depth, rule or TtfRule())
        self._widths = [width for width, _ in towers]
        self._norms = tuple(norm for _, norm in towers)
        self._rows = torch.tensor(layout.visual_rows)
        self.reset()

    def reset(self) -> None:
        self._selector.forget()
        self._fused: Tensor | None = None

    def patches(self, image: Image) -> Tensor | None:
        return None

    def plan(self, image: Image, features: Tensor) -> Plan:
        anew = self._selector.anew(image, self._norms)
        if self._fused is not None and anew is not None:
            features = self._fuse(self._fused, features, anew)
        self._fused = features
        return Plan(self._rows, features, watch=self._selector.relevance.watch)

    def learn(self, attention: Attention) -> None:
        self._selector.relevance.learn(attention)

    def _fuse(self, old: Tensor, new: Tensor, anew: list[Tensor]) -> Tensor:
        """Hard fusion: a patch of a tower is old or new."""
        parts = zip(old.split(self._widths, 1), new.split(self._widths, 1), anew, strict=True)
        return torch.cat([torch.where(m.to(n.device)[:, None], n, o) for o, n, m in parts], 1)


def channels(vision: Vision) -> tuple[tuple[int, Norm], ...]:
    """Which features come from which tower. A row of several patches has those of all of them."""
    widths = (tower.vit.config.width * vision.shuffle**2 for tower in vision.towers)
    return tuple(zip(widths, vision.norms, strict=True))
