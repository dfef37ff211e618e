"""One stream of pictures through one backbone, as a strategy plans it.

vision → plan → projector → the planned rows, text and read-out through the trunk → logits. The one
place where plans are carried out, for every strategy alike, so that a table of caches compares
rules and not implementations.
"""

from dataclasses import dataclass

import torch
from tandem.policies.caches import cost
from tandem.policies.caches.held import held_bytes
from tandem.policies.caches.layout import Layout, flat
from tandem.policies.caches.stages import Stages
from tandem.policies.caches.strategy import Image, Plan, Strategy, Watch
from tandem.policies.trunk.masks import causal
from tandem.policies.trunk.probe import Probe
from tandem.policies.trunk.trunk import Trunk
from tandem.policies.trunk.vision import Vision
from torch import Tensor


@dataclass(frozen=True)
class Backbone:
    """The networks of a VLA up to the read-out, all on one device and of one precision."""

    vision: Vision
    trunk: Trunk

    @property
    def device(self) -> torch.device:
        return self.trunk.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.trunk.norm.weight.dtype

    def own(self) -> "Backbone":
        """The same weights for one more stream."""
        return Backbone(self.vision.own(), self.trunk)

    def macs(self, work: cost.Work) -> cost.Macs:
        config = self.trunk.config
        return cost.Macs(
            vision=self.vision.macs(work.patches) if work.patches else 0,
            projector=work.projected * cost.linear(self.vision.projector),
            trunk=cost.trunk(config, work.trunk, work.keys),
            gate=work.decided + cost.watching(config, work.watched, work.keys),
            readout=cost.readout(config, work.read),
        )


@dataclass(frozen=True)
class Prompt:
    """The rows that are no picture, as trunk inputs."""

    bos: Tensor  # [bos, width]
    text: Tensor  # [text, width]
    readout: Tensor  # [readout, width]


@dataclass(frozen=True)
class Reading:
    """What one frame gave."""

    hidden: Tensor  # [readout, width] after the final norm
    logits: Tensor | None  # [readout, vocab], of a session that speaks
    plan: Plan
    work: cost.Work


class Session:
    """Holds keys, values and features from frame to frame. Belongs to one thread."""

    def __init__(
        self,
        backbone: Backbone,
        layout: Layout,
        strategy: Strategy,
        prompt: Prompt,
        speaks: bool = True,
    ) -> None:
        """`speaks` False: only hidden states are wanted, and a vocabulary is a large matrix."""
        self.backbone = backbone.own()
        self.layout = layout
        self.strategy = strategy
        self.prompt = prompt
        self.speaks = speaks
        self.stages = Stages(backbone.device)
        self.kv = backbone.trunk.store(layout.rows)
        self._causal = causal(layout.rows)
        self._head = torch.tensor(flat(layout.head), dtype=torch.long)
        self._tail = torch.tensor(flat(layout.tail))
        self.reset()

    def reset(self) -> None:
        """Another scene or another prompt: nothing is kept."""
        self.strategy.reset()
        self._features: Tensor | None = None
        self._partial = False

    @torch.no_grad()
    def step(self, image: Image) -> Reading:
        """image [H, W, 3] uint8 RGB; of the towers' size, or the strategy sees other patches."""
        first = self._features is None
        with self.stages("gate"):
            patches = self.strategy.patches(image)
        with self.stages("vision"):
            features, looked = self._look(image, patches)
        with self.stages("gate"):
            plan = self.strategy.plan(image, features)
        with self.stages("projector"):
            x, rows = self._inputs(plan, first)
        with self.stages("trunk"):
            hidden, probe = self._through(plan, x, rows)
        with self.stages("readout"):
            logits = self.backbone.trunk.logits(hidden) if self.speaks else None
        if plan.watch is not None and probe is not None:
            with self.stages("gate"):
                self.strategy.learn(probe.weights)
        return Reading(hidden, logits, plan, self._work(plan, looked, rows))

    def held_bytes(self) -> int:
        """What stays from one frame to the next, weights aside.

        What towers keep counts only where patches were ever left out.
        """
        total = held_bytes([self.kv, self._features, self.strategy])
        if self._partial:
            vision = self.backbone.vision
            cameras = vision.patches // vision.grid**2
            for tower in vision.towers:
                config = tower.vit.config
                values = config.width * (2 * config.depth * config.rows + config.patches)
                total += cameras * values * self.backbone.dtype.itemsize
        return total

    @torch.no_grad()
    def whole_inputs(self, image: Image) -> Tensor:
        """[rows, width] trunk inputs of a picture as a whole, in raster order; for training."""
        front, back = self._prompt()
        seen = self.backbone.vision.projector(self.backbone.vision.look(image))
        return torch.cat([front, seen, back])

    def _look(self, image: Image, patches: Tensor | None) -> tuple[Tensor, int]:
        """Features [N, F], and how many patches were computed for them."""
        kept = self._features
        if kept is None or patches is None:
            self._features = self.backbone.vision.look(image)
            return self._features, self.backbone.vision.patches
        if patches.any():
            self._partial = True
            self._features = kept = self.backbone.vision.look(image, patches)
        return kept, int(patches.sum())

    def _inputs(self, plan: Plan, first: bool) -> tuple[Tensor, Tensor]:
        """Trunk inputs [1, n, width] and their rows [n], ascending.

        What stands before every picture is computed once: nothing that comes later can change it.
        """
        seen = [self.backbone.vision.projector(plan.features)] if len(plan.rows) else []
        front, back = self._prompt()
        x = torch.cat([*([front] if first else []), *seen, back])
        rows = torch.cat([*([self._head] if first else []), plan.rows, self._tail])
        return x[None], rows

    def _prompt(self) -> tuple[Tensor, Tensor]:
        p = self.prompt
        if self.layout.text_first:
            return torch.cat([p.bos, p.text]), p.readout
        return p.bos, torch.cat([p.text, p.readout])

    def _through(self, plan: Plan, x: Tensor, rows: Tensor) -> tuple[Tensor, Probe | None]:
        device = self.backbone.device
        seen = (self._causal if plan.seen is None else plan.seen)[rows].to(device)
        drop = {layer: kept.to(device) for layer, kept in _staying(plan, rows).items()}
        probe = _probe(plan.watch, rows, device)
        positions = rows if plan.positions is None else plan.positions[..., rows]
        at, turned = rows.to(device), positions.to(device)
        hidden = self.backbone.trunk.step(x, at, turned, seen, self.kv, drop or None, probe)
        return hidden[0, -self.layout.readout :], probe

    def _work(self, plan: Plan, looked: int, rows: Tensor) -> cost.Work:
        depth = self.backbone.trunk.config.depth
        leave = {layer: len(gone) for layer, gone in _newly_gone(plan).items()}
        watch = plan.watch
        return cost.Work(
            patches=looked,
            projected=len(plan.rows),
            trunk=cost.rows_by_layer(depth, len(rows), leave),
            keys=self.layout.rows,
            watched=len(watch.layers) * len(watch.queries) if watch is not None else 0,
            read=self.layout.readout if self.speaks else 0,
            decided=plan.macs,
        )


def _newly_gone(plan: Plan) -> dict[int, Tensor]:
    """Layer → planned rows that leave there and were still under way."""
    gone, left = {}, plan.rows[:0]
    for layer in sorted(plan.leave):
        there = torch.isin(plan.leave[layer], plan.rows) & ~torch.isin(plan.leave[layer], left)
        gone[layer] = plan.leave[layer][there]
        left = torch.cat([left, gone[layer]])
    return gone


def _staying(plan: Plan, rows: Tensor) -> dict[int, Tensor]:
    """Layer → which of the step's rows go on, as the trunk wants to hear it."""
    here = torch.ones(len(rows), dtype=torch.bool)
    staying = {}
    for layer in sorted(plan.leave):
        here &= ~torch.isin(rows, plan.leave[layer])
        staying[layer] = here.nonzero()[:, 0]
    return staying


def _probe(watch: Watch | None, rows: Tensor, device: torch.device) -> Probe | None:
    if watch is None:
        return None
    return Probe(watch.layers, torch.searchsorted(rows, watch.queries).to(device))
