"""LAC at work (Learning to Accelerate VLAs, arXiv 2602.00686): a learnt choice of rows, by motion.

Chosen rows are computed from layer 0 on, all others keep keys and values. Some of the others are
recovered in every step, or an error in them would stay for ever: at random, as published, or in
turn, which bounds how old any row can become. No official code is public; what the paper leaves
open is in `LacRule`.

The paper's motion is since the frame before. Here it is since each row was last computed: what
slides by a quarter of a pixel a frame is never chosen for that, but for the pixels that add up.
"""

from dataclasses import dataclass
from math import isqrt
from typing import Literal

import numpy as np
import torch
from tandem.policies.caches import patches as picture
from tandem.policies.caches.flow import Flow
from tandem.policies.caches.lac_networks import LacNetworks, motion_input
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.strategy import Attention, Image, Plan
from torch import Tensor


@dataclass(frozen=True)
class LacRule:
    recovery: Literal["in turn", "random"] = "in turn"
    recovered: float = 0.03  # share of all patches recovered in a step
    bucket: int = 16  # rows are filled up to a multiple: few shapes, few CUDA graphs
    seed: int = 0  # of random recovery


class Lac:
    """The networks' device is where they decide; they see the picture as the tower does."""

    def __init__(
        self, layout: Layout, networks: LacNetworks, flow: Flow, rule: LacRule | None = None
    ) -> None:
        self.rule = rule or LacRule()
        self.networks = networks.eval()
        self._flow = flow
        self._rows = torch.tensor(layout.visual_rows)
        self._device = next(networks.parameters()).device
        self.reset()

    def reset(self) -> None:
        self._known: Image | None = None  # each patch as it was when its row was last computed
        self._turn = 0
        self._random = torch.Generator().manual_seed(self.rule.seed)

    def patches(self, image: Image) -> Tensor | None:
        return None

    def plan(self, image: Image, features: Tensor) -> Plan:
        if self._known is None:
            self._known = image.copy()
            return Plan(self._rows, features)
        anew = self._anew(self._known, image)
        self._known = renewed(self._known, image, anew)
        macs = self.networks.macs(image.shape[0])
        return Plan(self._rows[anew], features[anew.to(features.device)], macs=macs)

    def learn(self, attention: Attention) -> None:
        """Nothing was watched."""

    @torch.no_grad()
    def _anew(self, known: Image, image: Image) -> Tensor:
        """bool [N]"""
        motion = motion_input(image, self._flow(known, image))
        choice = self.networks(motion[None].to(self._device))
        scores = choice.scores[0].float().cpu()
        ratio = self.networks.ratios[int(choice.ratio_logits[0].argmax())]
        anew = picture.top(scores, active_count(ratio, len(scores)))
        anew |= self._recovered(~anew)
        return filled_up(anew, scores, self.rule.bucket)

    def _recovered(self, cached: Tensor) -> Tensor:
        count = round(self.rule.recovered * len(cached))
        chosen = torch.zeros_like(cached)
        if self.rule.recovery == "random":
            order = torch.randperm(int(cached.sum()), generator=self._random)
            chosen[cached.nonzero()[:, 0][order[:count]]] = True
        else:
            chosen[(self._turn + torch.arange(count)) % len(cached)] = True
            self._turn = (self._turn + count) % len(cached)
        return chosen


def renewed(before: Image, now: Image, patches: Tensor) -> Image:
    """`now` in some patches, bool [N] of a square grid, and `before` in the others."""
    grid = isqrt(len(patches))
    y, x = (np.arange(side) * grid // side for side in now.shape[:2])
    chosen = patches.numpy().reshape(grid, grid)[y[:, None], x]
    return np.where(chosen[..., None], now, before)


def active_count(ratio: float, patches: int) -> int:
    """Patches computed anew when the share `ratio` is kept."""
    return round((1 - ratio) * patches)


def filled_up(anew: Tensor, scores: Tensor, bucket: int) -> Tensor:
    """bool [N] with as many more of the highest scores as make a multiple of `bucket`, if there
    are. A patch may always be computed anew; a row twice in one step may not.
    """
    wanted = min(-(-int(anew.sum()) // bucket) * bucket, len(anew))
    return picture.top(torch.where(anew, torch.inf, scores), wanted)
