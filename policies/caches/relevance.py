"""What the last step's attention tells the next one: which patches the task is looking at."""

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.strategy import Attention, Watch
from torch import Tensor

LAYERS, PATCHES = 32, 256  # of the model (OpenVLA-7B) that published numbers are about


def scaled(layer: int, depth: int) -> int:
    """The layer of a trunk of `depth` that lies as deep as `layer` of 32 does."""
    return min(round(layer * depth / LAYERS), depth - 1)


def asking_rows(layout: Layout) -> Tensor:
    """Rows whose attention to the picture is read: the text, or the read-out if the text is first.

    Text before the picture cannot see it.
    """
    return torch.tensor(layout.readout_rows if layout.text_first else layout.text_rows)


class Relevance:
    """Mean attention of the asking rows to each visual row, in one layer."""

    def __init__(self, layout: Layout, layer: int) -> None:
        self.watch = Watch((layer,), asking_rows(layout))
        self._visual = slice(layout.visual_rows.start, layout.visual_rows.stop)
        self.scores: Tensor | None = None  # [visual rows]; None before the first step

    def forget(self) -> None:
        self.scores = None

    def learn(self, attention: Attention) -> None:
        (layer,) = self.watch.layers
        self.scores = attention[layer][:, self._visual].float().mean(0).cpu()


def entropy(weights: Tensor) -> float:
    """Mean over the queries of the entropy in nats of attention weights [queries, keys]."""
    return float(torch.special.entr(weights.float()).sum(-1).mean())
