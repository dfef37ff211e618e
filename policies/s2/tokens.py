"""From patch features to tokens: L1 registers, L2 patches, and the changed patches of each frame.

Dynamic tokens are like the P-frames of a video: the patches that differ most from the frame at
which L2 was last refreshed. Learned query tokens in their place are ignored by the trunk and die
silently.
"""

import torch
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.text import VOCABULARY
from tandem.policies.s2.trunk import Block, CrossBlock
from torch import Tensor, nn
from torch.nn import functional


def change(features: Tensor, reference: Tensor) -> Tensor:
    """How much each patch differs from the reference, [..., 64]; features [..., 64, width]."""
    width = features.shape[-1:]
    normed = functional.layer_norm(features.float(), width)
    return (normed - functional.layer_norm(reference.float(), width)).square().mean(-1)


def changed_patches(features: Tensor, reference: Tensor, count: int) -> Tensor:
    """Indices [..., count] of the patches that changed most; ties go to the lower index."""
    order = torch.sort(change(features, reference), dim=-1, descending=True, stable=True)
    return order.indices[..., :count]


def _table(rows: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, width) * 0.02)


class Tokens(nn.Module):
    """Embeds every kind of row. All batched: [B, rows, width] out."""

    def __init__(self, config: S2Config) -> None:
        super().__init__()
        width = config.width
        self.count = config.changed
        self.place = _table(config.patches, width)
        self.registers = _table(config.registers, width)
        self.level1 = CrossBlock(width, config.heads, config.static_mlp)
        self.level2 = Block(width, config.heads, config.static_mlp)
        self.dynamic = nn.Linear(2 * width, width)
        self.dynamic_place = _table(config.patches, width)
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.word_place = _table(config.text, width)
        self.readouts = _table(config.readouts, width)

    def l1(self, features: Tensor) -> Tensor:
        """Registers that summarise the whole frame [B, 8, width]; runs only on a refresh."""
        registers = self.registers.expand(len(features), -1, -1)
        return self.level1.read(registers, features + self.place)

    def l2(self, features: Tensor) -> Tensor:
        """Patches that know their neighbours [B, 64, width]; runs only on a refresh."""
        return self.level2(features + self.place)

    def frame(self, features: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Dynamic tokens [B, 16, width] of a frame and their patch indices [B, 16]."""
        patches = changed_patches(features, reference, self.count)
        picked = patches[..., None].expand(-1, -1, features.shape[-1])
        now = features.gather(1, picked)
        before = reference.gather(1, picked)
        token = self.dynamic(torch.cat([now, now - before], -1))
        return token + self.dynamic_place[patches], patches

    def question(self, text: Tensor) -> Tensor:
        """Text tokens [B, 12] to rows of text and read-out [B, 14, width]."""
        words = self.words(text) + self.word_place
        return torch.cat([words, self.readouts.expand(len(text), -1, -1)], 1)
