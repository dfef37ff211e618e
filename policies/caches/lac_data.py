"""Training data for LAC from the pictures of one stream, by the backbone that it is to serve."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tandem.policies.caches.flow import Flow
from tandem.policies.caches.lac_networks import motion_input
from tandem.policies.caches.lac_training import Aligning, Pairs
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.relevance import Relevance
from tandem.policies.caches.session import Backbone, Prompt, Session
from tandem.policies.caches.strategy import Attention, Image, Plan
from tandem.policies.caches.whole import Whole
from torch import Tensor


class Watching(Whole):
    """Everything anew, and what the text attends to."""

    def __init__(self, layout: Layout, layer: int) -> None:
        super().__init__(layout)
        self.relevance = Relevance(layout, layer)

    def plan(self, image: Image, features: Tensor) -> Plan:
        return Plan(self._rows, features, watch=self.relevance.watch)

    def learn(self, attention: Attention) -> None:
        self.relevance.learn(attention)


@dataclass(frozen=True)
class Seen:
    """One frame of a stream, with what both stages need of it. The first has no motion."""

    motion: Tensor | None  # [5, H, W]
    attention: Tensor  # [N]
    inputs: Tensor  # [rows, width] of the trunk
    readout: Tensor  # [readout, width] with everything computed anew


def watch(
    backbone: Backbone,
    layout: Layout,
    prompt: Prompt,
    images: Sequence[Image],
    flow: Flow,
    layer: int,
) -> list[Seen]:
    """Runs successive pictures through the whole backbone; `layer` is the one that teaches."""
    strategy = Watching(layout, layer)
    session = Session(backbone, layout, strategy, prompt)
    seen = []
    for i, image in enumerate(images):
        readout = session.step(image).hidden
        attention = strategy.relevance.scores
        assert attention is not None  # the plan asked for it
        motion = motion_input(image, flow(images[i - 1], image)) if i else None
        seen.append(Seen(motion, attention, session.whole_inputs(image), readout))
    return seen


def aligning(seen: Sequence[Seen], batch: int, batches: int, seed: int = 0) -> Iterator[Aligning]:
    """Batches of stage I, drawn with replacement."""
    for chosen in _draws(seen, batch, batches, seed):
        motion = torch.stack([s.motion for _, s in chosen if s.motion is not None])
        yield Aligning(motion, torch.stack([s.attention for _, s in chosen]))


def pairs(seen: Sequence[Seen], batch: int, batches: int, seed: int = 0) -> Iterator[Pairs]:
    """Batches of stage II; the target is the read-out of the whole backbone (distillation).

    Whoever has actions makes `Pairs` with them as targets.
    """
    for chosen in _draws(seen, batch, batches, seed):
        yield Pairs(
            motion=torch.stack([s.motion for _, s in chosen if s.motion is not None]),
            before=torch.stack([before.inputs for before, _ in chosen]),
            now=torch.stack([s.inputs for _, s in chosen]),
            target=torch.stack([s.readout for _, s in chosen]),
        )


def _draws(
    seen: Sequence[Seen], batch: int, batches: int, seed: int
) -> Iterator[list[tuple[Seen, Seen]]]:
    """(frame before, frame)"""
    random = torch.Generator().manual_seed(seed)
    moving = [i for i, frame in enumerate(seen) if frame.motion is not None]
    for _ in range(batches):
        drawn = torch.randint(len(moving), (batch,), generator=random).tolist()
        yield [(seen[moving[i] - 1], seen[moving[i]]) for i in drawn]
