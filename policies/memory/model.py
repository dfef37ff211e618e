"""A small SD-VLA with a long memory, as a pure function in batches.

Static tokens come from the frame at which their level was last refreshed, a few dynamic tokens
from each frame of the history. Which token is which is fixed by index and what it carries is
learned, as in SD-VLA (arXiv 2602.03983). Patches that changed most, the dynamic tokens of the pick
task, would all be spent on the arm here.

The trunk is block-causal: L1 sees itself, L2 what is before it, a frame the statics and itself
(`frame_isolated`), the question everything. How old a frame is enters only where the question reads
it, so a frame's rows stay exact while it ages, and are computed once per refresh.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tandem.policies.caches.sdvla.gate import Gate
from tandem.policies.memory.config import MemoryConfig
from tandem.policies.memory.subgoals import SECONDS
from tandem.policies.s2.stem import Stem, to_input
from tandem.policies.s2.trunk import Block, attend
from torch import Tensor, nn
from torch.nn import functional

Rows = list[tuple[Tensor, Tensor]]  # of each layer: keys and values, [B, heads, n, width/heads]
_RATES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # rad per unit of log age: half a second is 1.5 rad at 5 s
_GATE = (64, 32), (32, 16)  # its hidden and its mixed widths
AGE_INPUTS = 2 * len(_RATES) + 1


@dataclass(frozen=True)
class Question:
    """What is asked of B histories of T frames."""

    ages_s: Tensor  # [B, T] how old each frame is
    first: Tensor  # [B, T] bool, the pinned first frame of the episode
    held: Tensor  # [B, T] bool, False where a slot is empty
    seconds: Tensor  # [B] int64, the heating time of the instruction


class Mixer(nn.Module):
    """Patch features [B, patches, width] to [B, count, width]: each token its own mixture."""

    def __init__(self, config: MemoryConfig, count: int) -> None:
        super().__init__()
        self.count = count
        self.norm = nn.LayerNorm(config.width)
        self.squeeze = nn.Linear(config.width, config.squeeze)
        self.mix = nn.Linear(config.seeing.patches * config.squeeze, count * config.width)

    def forward(self, features: Tensor) -> Tensor:
        kept = functional.relu(self.squeeze(self.norm(features)))
        return self.mix(kept.flatten(1)).unflatten(1, (self.count, -1))


class Age(nn.Module):
    """What a frame's age adds to its keys and values, layer by layer."""

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(AGE_INPUTS, 2 * config.width) for _ in range(config.depth)
        )
        self.heads = config.heads

    def forward(self, layer: int, ages_s: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T] seconds, and whether it is the first frame of all, to two of [B, heads, T, d]."""
        phase = torch.log1p(2 * ages_s)[..., None] * torch.tensor(_RATES)
        inputs = torch.cat([phase.sin(), phase.cos(), first[..., None].float()], -1)
        both = self.layers[layer](inputs).unflatten(-1, (2, self.heads, -1))
        key, value = both.permute(2, 0, 3, 1, 4)
        return key, value


class MemoryModel(nn.Module):
    def __init__(self, config: MemoryConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MemoryConfig()
        self.stem = Stem(config.seeing)
        self.levels = nn.ModuleList(Mixer(config, count) for count in config.levels)
        self.dynamic = Mixer(config, config.dynamic)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.age = Age(config)
        self.seconds = nn.Embedding(max(SECONDS) + 1, config.width)
        self.readout = nn.Parameter(torch.randn(config.width) * 0.02)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.answers)
        seeing = config.seeing
        self.gate = Gate(seeing.width, seeing.patches, len(config.levels), *_GATE)

    def features(self, images: Tensor) -> Tensor:
        """uint8 images [B, 128, 128, 3] to patch features [B, 64, width]."""
        return self.stem(functional.avg_pool2d(to_input(images), self.config.shrink))

    def forward(self, references: Sequence[Tensor], frames: Tensor, question: Question) -> Tensor:
        """Logits [B, answers] over SUBGOALS.

        Args:
            references: of each level features [B, 64, width] of the frame it was refreshed at.
            frames: dynamic tokens [B, T, dynamic, width] of the history's frames, in any order.
            question: of as many frames.
        """
        levels: list[Rows] = []
        for level, reference in enumerate(references):
            levels.append(self.level_rows(level, reference, levels))
        statics, count = stacked(levels), frames.shape[1]
        spread = each(statics, lambda rows: rows.repeat_interleave(count, 0))
        own = self.frame_rows(frames.flatten(0, 1), spread)
        apart = each(own, lambda rows: rows.unflatten(0, (-1, count)))
        return self.ask(statics, apart, question)

    def level_rows(self, level: int, reference: Tensor, above: Sequence[Rows]) -> Rows:
        """Rows of a static level, given those of the levels above; only a refresh needs them."""
        return self._through(self.levels[level](reference), stacked(above))[1]

    def frame_rows(self, tokens: Tensor, statics: Rows) -> Rows:
        """Rows of single frames: tokens [N, dynamic, width], statics of the same N."""
        return self._through(tokens, statics)[1]

    def ask(self, statics: Rows, frames: Rows, question: Question) -> Tensor:
        """Logits [B, answers] from rows that are there already.

        frames: of each layer keys and values [B, T, heads, dynamic, width/heads].
        """
        context: Rows = []
        for layer, (static, frame) in enumerate(zip(statics, frames, strict=True)):
            age = self.age(layer, question.ages_s, question.first)
            key, value = (_joined(*parts) for parts in zip(static, frame, age, strict=True))
            context.append((key, value))
        seen = question.held.repeat_interleave(self.config.dynamic, 1)
        seen = functional.pad(seen, (self.config.statics, 2), value=True)
        bias = torch.zeros(seen.shape).masked_fill(~seen, -math.inf)[:, None, None]
        seconds = self.seconds(question.seconds)
        asked = torch.stack([seconds, self.readout.expand_as(seconds)], 1)
        x, _ = self._through(asked, context, bias)
        return self.head(self.norm(x[:, -1]))

    def _through(self, x: Tensor, before: Rows, bias: Tensor | None = None) -> tuple[Tensor, Rows]:
        """Rows x [B, n, width] through all layers, reading `before`, if any, and each other."""
        own: Rows = []
        for layer, block in enumerate(self.blocks):
            query, key, value = block.split(x)
            own.append((key, value))
            if before:
                key = torch.cat([before[layer][0], key], 2)
                value = torch.cat([before[layer][1], value], 2)
            x = block.join(x, attend(query, key, value, bias))
        return x, own


def each(rows: Rows, change: Callable[[Tensor], Tensor]) -> Rows:
    """The same done to all keys and values."""
    return [(change(key), change(value)) for key, value in rows]


def stacked(parts: Sequence[Rows]) -> Rows:
    """Rows one after another, layer by layer."""
    layers = zip(*parts, strict=True)
    return [
        (torch.cat([k for k, _ in one], 2), torch.cat([v for _, v in one], 2)) for one in layers
    ]


def _joined(static: Tensor, frames: Tensor, age: Tensor) -> Tensor:
    """[B, heads, s, d], [B, T, heads, n, d] and [B, heads, T, d] to [B, heads, s + T·n, d]."""
    aged = frames.transpose(1, 2) + age[:, :, :, None]
    return torch.cat([static, aged.flatten(2, 3)], 2)
