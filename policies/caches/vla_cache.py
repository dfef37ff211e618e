"""VLA-Cache (Xu et al., NeurIPS 2025, arXiv 2502.02175; its code at a490988): rules, no training.

A patch is static if it looks as it did one frame ago and the text does not attend to it. Static
rows go through the first layers and drop out at four depths; what they were is attended to on. How
many drop out at a depth follows from how focused attention was there in the step before.

Ours differs in two things. Entropy is taken over the text's rows instead of all, so that no layer
has to give its attention matrix away; and without static patches nothing drops out, where the
original falls over `len(None)`.
"""

from dataclasses import dataclass

import torch
from tandem.policies.caches import patches as picture
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.relevance import PATCHES, Relevance, entropy, scaled
from tandem.policies.caches.strategy import Attention, Image, Plan, Watch
from torch import Tensor


@dataclass(frozen=True)
class VlaCacheRule:
    """Published values for OpenVLA. Others are scaled from them."""

    similarity: float = 0.996  # cosine, to the previous frame
    most_static: int = 130
    relevant: int = 120  # patches that the text attends to most are never static
    attention_layer: int = 15
    leave_layers: tuple[int, ...] = (2, 6, 9, 11)
    growth: float = 0.55  # damping of increases from layer to layer
    max_age: int | None = None  # steps that a patch may stay static; the original knows no limit


class VlaCache:
    def __init__(
        self, layout: Layout, grid: int, depth: int, rule: VlaCacheRule | None = None
    ) -> None:
        """A picture of grid×grid patches in front of a trunk of `depth` layers."""
        self.rule = rule = rule or VlaCacheRule()
        self._grid = grid
        self._share = grid * grid / PATCHES
        self._rows = torch.tensor(layout.visual_rows)
        self._relevance = Relevance(layout, scaled(rule.attention_layer, depth))
        self._watch = Watch(tuple(range(depth)), self._relevance.watch.queries)
        self._leave_layers = sorted({max(1, scaled(layer, depth)) for layer in rule.leave_layers})
        self.reset()

    def reset(self) -> None:
        self._before: Image | None = None
        self._relevance.forget()
        self._reuse: list[float] = []
        self._age = torch.zeros(len(self._rows), dtype=torch.long)

    def patches(self, image: Image) -> Tensor | None:
        return None

    def plan(self, image: Image, features: Tensor) -> Plan:
        static = self._static(image)
        self._before = image.copy()
        leave = leaving(static, self._reuse, self._leave_layers)
        self._grow_older(leave)
        gone = {layer: self._rows[patches] for layer, patches in leave.items()}
        return Plan(self._rows, features, leave=gone, watch=self._watch)

    def learn(self, attention: Attention) -> None:
        self._relevance.learn(attention)
        layers = [entropy(attention[layer]) for layer in self._watch.layers]
        self._reuse = reuse_shares(layers, self.rule.growth)

    def _static(self, image: Image) -> Tensor:
        """Patches, ascending, that are worth nothing new; none before there is a past."""
        if self._before is None or self._relevance.scores is None:
            return torch.zeros(0, dtype=torch.long)
        alike = picture.cosine(self._before, image, self._grid)
        static = picture.top(alike, round(self.rule.most_static * self._share))
        static &= alike >= self.rule.similarity
        static &= ~picture.top(self._relevance.scores, round(self.rule.relevant * self._share))
        if self.rule.max_age is not None:
            static &= self._age < self.rule.max_age
        return static.nonzero()[:, 0]

    def _grow_older(self, leave: dict[int, Tensor]) -> None:
        stale = torch.zeros(len(self._age), dtype=torch.bool)
        for patches in leave.values():
            stale[patches] = True
        self._age = torch.where(stale, self._age + 1, 0)


def reuse_shares(entropies: list[float], growth: float) -> list[float]:
    """Share of the static rows that may be gone at each layer: 1 where attention is most focused.

    Min-max over the layers; a rise from one layer to the next is damped by `growth`.
    """
    low, high = min(entropies), max(entropies)
    shares = [1 - (value - low) / (high - low + 1e-10) for value in entropies]
    for layer in range(1, len(shares)):
        rise = shares[layer] - shares[layer - 1]
        if rise > 0:
            shares[layer] = shares[layer - 1] + growth * rise
    return shares


def leaving(static: Tensor, reuse: list[float], layers: list[int]) -> dict[int, Tensor]:
    """Layer → the patches that are gone from it on. The first of the static patches, never fewer
    than the layer before; no layer without static patches.
    """
    gone: dict[int, Tensor] = {}
    most = 0
    for layer in layers if len(static) else ():
        count = max(1, int(reuse[layer] * len(static)))
        if count > most:
            gone[layer] = static[:count]
            most = count
    return gone
