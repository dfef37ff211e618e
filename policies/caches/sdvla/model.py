"""SD-VLA around a trunk, as a pure function in batches: what training uses and streams must equal.

features → partition → projector → `[BOS][L1][L2]…[frames][text][read-out]` → trunk → read-out.
"""

import math
from collections.abc import Sequence

import torch
from tandem.policies.caches.sdvla.gate import Gate
from tandem.policies.caches.sdvla.geometry import Geometry, Selection
from tandem.policies.caches.sdvla.partition import Partition
from tandem.policies.trunk.trunk import Trunk
from tandem.runtime.errors import ConfigError
from torch import Tensor, nn

_PERIODS, _LONGEST_S = 8, 256.0  # of the sines; each is half as long as the one before


class TimeCode(nn.Module):
    """Tells a frame's capture time, and the read-out's present, by what is added to their tokens.

    Isolated frames stand at the same positions, so that they can come and go; the difference of two
    times is linear in these sines. It begins at zero: a pretrained trunk starts undisturbed.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        octaves = torch.arange(_PERIODS, dtype=torch.float64)
        self.register_buffer("periods_s", _LONGEST_S / 2**octaves, persistent=False)
        self.mix = nn.Linear(2 * _PERIODS, width, bias=False)
        nn.init.zeros_(self.mix.weight)

    def forward(self, time_s: Tensor) -> Tensor:
        """time_s float64 [...] since the stream began, to [..., width]."""
        turns = (time_s[..., None] / self.periods_s).frac() * (2 * math.pi)
        return self.mix(torch.cat([turns.sin(), turns.cos()], -1).to(self.mix.weight.dtype))


class SdVla(nn.Module):
    """The trained parts and how they are put together. All on one device, of one precision."""

    def __init__(
        self,
        trunk: Trunk,
        projector: nn.Module,
        partition: Partition,
        gate: Gate,
        geometry: Geometry,
        bos_tokens: Sequence[int] = (1,),
    ) -> None:
        """projector: features [B, n, D] to trunk inputs [B, n, width], row by row."""
        super().__init__()
        layout = geometry.layout
        self.trunk, self.projector, self.partition, self.gate = trunk, projector, partition, gate
        self.geometry, self.layout = geometry, layout
        self.bos_tokens = tuple(bos_tokens)
        width = trunk.config.width
        self.readout = nn.Parameter(torch.randn(layout.readout, width) * 0.02)
        self.time = TimeCode(width)
        sizes = [len(span) for span in partition.spans]
        if sizes != [*layout.levels, layout.dynamic] or len(self.bos_tokens) != layout.bos:
            raise ConfigError(
                f"the partition has groups of {sizes}, BOS has {len(self.bos_tokens)} tokens; "
                f"the layout wants {[*layout.levels, layout.dynamic]} and {layout.bos}"
            )
        self._selections: dict[int, Selection] = {}

    @property
    def levels(self) -> int:
        return len(self.layout.levels)

    def static(self, features: Tensor, level: int) -> Tensor:
        """Tokens [B, n, width] of one level, from features [B, N, D]."""
        return self.projector(self.partition(features, level))

    def dynamic(self, features: Tensor, time_s: Tensor) -> Tensor:
        """Dynamic tokens [B, n, width] of frames captured at time_s [B]."""
        tokens = self.projector(self.partition(features, self.levels))
        return tokens + self.time(time_s)[:, None]

    def asks(self, time_s: Tensor) -> Tensor:
        """Read-out tokens [B, readout, width] of the present time_s [B]."""
        return self.readout + self.time(time_s)[:, None]

    def bos(self) -> Tensor:
        return self.trunk.embed(torch.tensor(self.bos_tokens, device=self.readout.device).long())

    def forward(
        self, levels: Sequence[Tensor], frames: Tensor, text: Tensor, asks: Tensor
    ) -> Tensor:
        """Hidden states [B, readout, width].

        levels: tokens of each level [B, n, width], of whatever frame. frames: [B, W, dynamic,
        width], the newest last, W ≤ layout.frames. text: [B, text] token numbers.
        """
        batch, window = frames.shape[:2]
        words = self.trunk.embed(text)
        first, last = ([words], []) if self.layout.text_first else ([], [words])
        bos = self.bos().expand(batch, -1, -1)
        x = torch.cat([bos, *first, *levels, frames.flatten(1, 2), *last, asks], 1)
        rows, positions, seen = self._selection(window)
        hidden: Tensor = self.trunk(x, positions.to(x.device), seen[:, rows].to(x.device))
        return hidden[:, -self.layout.readout :]

    def _selection(self, frames: int) -> Selection:
        if frames not in self._selections:
            self._selections[frames] = self.geometry.select(0, range(frames), frames)
        return self._selections[frames]
