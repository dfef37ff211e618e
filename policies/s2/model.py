"""The whole of System 2 as a pure function, in batches: what training and streaming use.

The latent depends on (reference of L1, reference of L2, the last frames, text) and on nothing else;
`engine.py` computes the same with a cache, row by row.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.gate import Gate
from tandem.policies.s2.readout import Readout
from tandem.policies.s2.stem import Stem, to_input
from tandem.policies.s2.tokens import Tokens
from tandem.policies.s2.trunk import Trunk, attention_bias
from torch import Tensor, nn


@dataclass
class Output:
    """What one pass says about Q questions, and the rows behind it, for training."""

    raw: Tensor  # [B, Q, K·D] latent before normalisation
    pointer: Tensor  # [B, Q, 64 + 16] logits over static patches, then the newest frame's patches
    candidates: Tensor  # [B, 64 + 16, width] trunk rows behind the pointer's candidates
    values: Tensor  # [B, 64 + 16, 96] what the pointer fetches
    patches: Tensor  # [B, 16] patch of each dynamic candidate


class S2Model(nn.Module):
    def __init__(self, config: S2Config | None = None) -> None:
        super().__init__()
        config = config or S2Config()
        self.config = config
        self.stem = Stem(config)
        self.tokens = Tokens(config)
        self.trunk = Trunk(config)
        self.readout = Readout(config)
        self.gate = Gate(config)

    def features(self, images: Tensor) -> Tensor:
        """uint8 images [B, 128, 128, 3] to patch features [B, 64, width]."""
        return self.stem(to_input(images))

    def forward(
        self, l1: Tensor, l2: Tensor, reference: Tensor, window: Tensor, text: Tensor
    ) -> Output:
        """
        Args:
            l1: embedded registers [B, 8, width] of the frame at which L1 was refreshed.
            l2: embedded patches [B, 64, width] of the frame at which L2 was refreshed.
            reference: features [B, 64, width] of that frame of L2.
            window: features [B, W, 64, width], 1 ≤ W ≤ 4 frames, the newest first.
            text: tokens [B, Q, 12] of Q questions about the same frames.
        """
        batch, frames = window.shape[:2]
        questions = text.shape[1]
        against = reference[:, None].expand_as(window)
        dynamic, patches = self.tokens.frame(window.flatten(0, 1), against.flatten(0, 1))
        asked = self.tokens.question(text.flatten(0, 1))
        rows = [l1, l2, dynamic.unflatten(0, (batch, frames)).flatten(1, 2)]
        rows.append(asked.unflatten(0, (batch, questions)).flatten(1, 2))
        x = torch.cat(rows, 1)
        bias = _bias(self.config, frames, questions)
        return self._read(
            self.trunk(x, bias.to(x.dtype)), patches.unflatten(0, (batch, frames))[:, 0], questions
        )

    def _read(self, x: Tensor, patches: Tensor, questions: int) -> Output:
        config = self.config
        candidates = x[:, config.registers : config.statics + config.changed]
        asked = x[:, -questions * config.question :].unflatten(1, (questions, config.question))
        readouts = asked[:, :, -config.readouts :]
        keys, values = self.readout.pointer.candidates(candidates)
        logits, pointed = self.readout.pointer.point(readouts[:, :, 0], keys, values)
        raw = self.readout.raw(readouts, pointed)
        return Output(raw, logits, candidates, values, patches)

    def latent(
        self, reference1: Tensor, reference2: Tensor, window: Tensor, text: Tensor
    ) -> Tensor:
        """Features and tokens [B, 12] to the normalised latent [B, K, D] float32."""
        tokens = self.tokens
        output = self(
            tokens.l1(reference1), tokens.l2(reference2), reference2, window, text[:, None]
        )
        return self.readout.normalised(output.raw)[:, 0]


@lru_cache(maxsize=16)
def _bias(config: S2Config, frames: int, questions: int) -> Tensor:
    return attention_bias(config, tuple(range(frames)), questions)
