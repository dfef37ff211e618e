"""VLA Dual Cache (a design note without published results): one selection for tower and trunk.

Selection is TTF's. In the tower a static patch keeps the keys and values of each layer; the note
computes its query anew, which saves two projections of the six matrices, and says the aim is
steadiness. Here its row is not computed at all, so the work really falls with the share of dynamic
patches. In the trunk a static row keeps query, key and value: nobody reads a row that is not
computed, so that is the row being left out from layer 0 on.
"""

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.strategy import Attention, Image, Plan
from tandem.policies.caches.ttf import HybridSelector, TtfRule
from tandem.policies.trunk.vision import HALF, Norm
from torch import Tensor


class DualCache:
    def __init__(
        self,
        layout: Layout,
        grid: int,
        depth: int,
        norms: tuple[Norm, ...] = (HALF,),
        rule: TtfRule | None = None,
    ) -> None:
        """A patch that changed for any of the towers' `norms` is computed in all of them."""
        self._selector = HybridSelector(layout, grid, depth, rule or TtfRule())
        self._norms = norms
        self._rows = torch.tensor(layout.visual_rows)
        self.reset()

    def reset(self) -> None:
        self._selector.forget()
        self._anew: Tensor | None = None

    def patches(self, image: Image) -> Tensor | None:
        anew = self._selector.anew(image, self._norms)
        self._anew = None if anew is None else torch.stack(anew).any(0)
        return self._anew

    def plan(self, image: Image, features: Tensor) -> Plan:
        watch = self._selector.relevance.watch
        if self._anew is None:
            return Plan(self._rows, features, watch=watch)
        return Plan(self._rows[self._anew], features[self._anew.to(features.device)], watch=watch)

    def learn(self, attention: Attention) -> None:
        self._selector.relevance.learn(attention)
