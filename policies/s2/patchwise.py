"""The shipped model with single patch rows kept, as a rule of another cache decides.

The rule is a `Strategy` of policies/caches, the one that also runs on large trunks. It is carried
out on the 64 patch rows; registers, frames and question are computed anew in every frame, each
frame being its own reference as with "none". A row that is kept is attended to with its old keys
and values, and pointed at where it last said.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.strategy import Attention, Image, Plan, Strategy, Watch
from tandem.policies.s2 import macs
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.engine import Reading
from tandem.policies.s2.kv_cache import KvCache
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.trunk import Block
from torch import Tensor
from torch.nn import functional


def patch_layout(config: S2Config) -> Layout:
    """The rows as a rule knows them: it is told nothing of frames between patches and text."""
    return Layout(config.registers, (), config.patches, 1, config.text, config.readouts)


@dataclass(frozen=True)
class Step:
    """What the trunk delivered, and what the rule let it compute."""

    reading: Reading
    anew: tuple[int, ...]  # patch rows computed, layer by layer
    macs: macs.Macs


class Patchwise:
    """One stream of images under one rule."""

    def __init__(self, model: S2Model, rule: Strategy) -> None:
        rule.reset()
        self.model, self.rule = model, rule
        self.config = config = model.config
        self.cache = KvCache(config)
        self.age_frames = torch.zeros(config.patches, dtype=torch.long)
        self._shown: Tensor | None = None  # features [1, 64, width] that the last frame had
        self._window: list[Tensor] = []  # of such features, newest first
        self._keys = torch.zeros(1, config.patches + config.changed, config.pointer)
        self._values = torch.zeros(1, self._keys.shape[1], config.pointed)

    def step(
        self, image: Image, features: Tensor, question: Tensor, lap: Callable[[str], None]
    ) -> Step:
        """One frame: image [H, W, 3], its features [1, 64, width], question [1, 14, width].

        `lap` is told of each stage that has ended.
        """
        plan, features = self._plan(image, features)
        lap("gate")
        patches = plan.rows - self.config.registers
        static = [self.model.tokens.l1(features), self._embedded(features, patches)]
        lap("static")
        x, rows = self._inputs(plan, static, features, question)
        hidden, left, attention = self._through(x, rows, plan)
        reading = self._read(hidden, left)
        lap("trunk")
        if plan.watch is not None:
            self.rule.learn(attention)
        lap("gate")
        anew = _rows_by_layer(plan, self.config.depth)
        self.age_frames += 1
        self.age_frames[_patches(left, self.config)] = 0
        return Step(reading, anew, self._macs(plan, anew))

    def _plan(self, image: Image, features: Tensor) -> tuple[Plan, Tensor]:
        """The rule's plan, and the features with what it keeps or fuses."""
        wanted = self.rule.patches(image)
        if wanted is not None and self._shown is not None:
            # The stem convolves the whole picture in any case; what is not wanted is not used.
            features = torch.where(wanted[None, :, None], features, self._shown)
        plan = self.rule.plan(image, features[0])
        patches = plan.rows - self.config.registers
        self._shown = features.index_copy(1, patches, plan.features[None])
        return plan, self._shown

    def _embedded(self, features: Tensor, patches: Tensor) -> Tensor:
        """`Tokens.l2` for some patches only [1, n, width]; they see all the others."""
        block = self.model.tokens.level2
        x = features + self.model.tokens.place
        query, key, value = block.split(x)
        some = functional.scaled_dot_product_attention(query[:, :, patches], key, value)
        return block.join(x[:, patches], some)

    def _inputs(
        self, plan: Plan, static: list[Tensor], features: Tensor, question: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Trunk inputs [1, n, width] and their rows [n]: static, frames newest first, question."""
        config = self.config
        self._window = [features, *self._window[: config.frames - 1]]
        self.cache.admit()
        frames = torch.cat(self._window)
        moving = self.model.tokens.frame(frames, features.expand_as(frames))[0]
        slots = self.cache.held_slots()
        moved = torch.tensor([row for slot in slots for row in config.frame_rows(slot)])
        registers, asked = torch.arange(config.registers), torch.tensor(config.question_rows)
        rows = torch.cat([registers, plan.rows, moved, asked])
        return torch.cat([*static, moving.flatten(0, 1)[None], question], 1), rows

    def _through(self, x: Tensor, rows: Tensor, plan: Plan) -> tuple[Tensor, Tensor, Attention]:
        """Hidden of the rows that reach the end, those rows, and the attention asked for."""
        bias, attention = self.cache.bias(), {}
        for layer, block in enumerate(self.model.trunk.blocks):
            assert isinstance(block, Block)
            if layer in plan.leave:
                stay = ~torch.isin(rows, plan.leave[layer])
                x, rows = x[:, stay], rows[stay]
            query, key, value = block.split(x)
            keys, values = self.cache.write(layer, rows, key, value)
            if plan.watch is not None and layer in plan.watch.layers:
                attention[layer] = self._looked(query, keys, bias, plan.watch)
            mask = bias[:, rows][None]
            attended = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
            x = block.join(x, attended)
        return self.model.trunk.norm(x), rows, attention

    def _looked(self, query: Tensor, keys: Tensor, bias: Tensor, watch: Watch) -> Tensor:
        """Head-mean weights [queries, rows] of question rows, by a small QKᵀ of their own."""
        # The rule's text follows the patches; here the frames lie between. It ends every step.
        asked = watch.queries + self.config.dynamics
        some = query[0, :, asked - self.config.rows]
        scores = some @ keys[0].transpose(-2, -1) * query.shape[-1] ** -0.5
        return (scores + bias[:, asked]).softmax(-1).mean(0)

    def _read(self, hidden: Tensor, rows: Tensor) -> Reading:
        """Renews the pointer's candidates that were computed to the end; the others stay."""
        config = self.config
        newest = torch.tensor(config.frame_rows(self.cache.newest))
        renewed = torch.cat([_patches(rows, config), config.patches + torch.arange(len(newest))])
        computed = torch.isin(rows, torch.arange(config.registers, config.statics))
        computed |= torch.isin(rows, newest)
        keys, values = self.model.readout.pointer.candidates(hidden[:, computed])
        self._keys.index_copy_(1, renewed, keys)
        self._values.index_copy_(1, renewed, values)
        return Reading(hidden[:, -config.readouts :], self._keys, self._values)

    def _macs(self, plan: Plan, anew: tuple[int, ...]) -> macs.Macs:
        watch = plan.watch
        watched = len(watch.layers) * len(watch.queries) if watch is not None else 0
        return macs.patchwise(
            self.config, len(plan.rows), anew, self.cache.filled, watched, plan.macs
        )


def _patches(rows: Tensor, config: S2Config) -> Tensor:
    """Which patches are among some rows, in their order."""
    return rows[(rows >= config.registers) & (rows < config.statics)] - config.registers


def _rows_by_layer(plan: Plan, depth: int) -> tuple[int, ...]:
    gone, counts = torch.zeros_like(plan.rows, dtype=torch.bool), []
    for layer in range(depth):
        if layer in plan.leave:
            gone |= torch.isin(plan.rows, plan.leave[layer])
        counts.append(int((~gone).sum()))
    return tuple(counts)
