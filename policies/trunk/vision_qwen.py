"""Qwen2.5-VL's vision transformer (arXiv 2502.13923, section 2.1), whole or only some patches.

What sets it apart from `vit`: in most layers a patch sees only those of its own window, places are
rotations by row and column and not learned, norms and MLP are those of a language model. So it
takes squares of any size. Patches are in raster order everywhere.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from tandem.policies.trunk.layers import RmsNorm
from tandem.policies.trunk.rope import Rope, rotate
from tandem.policies.trunk.vit import EPS, TowerConfig, VitStore, cut
from torch import Tensor, nn
from torch.nn import functional

_THETA = 10_000.0


@dataclass(frozen=True)
class QwenVitConfig(TowerConfig):
    """Defaults are the published sizes of what is the same in 3B, 7B and 72B."""

    window: int = 8  # patches a side
    whole: tuple[int, ...] = (7, 15, 23, 31)  # layers in which every patch sees every other

    def macs(self, patches: int) -> int:
        """Multiply-adds when `patches` of them are computed.

        Windows are masks here: attention counts every patch, as a fused kernel computes it.
        """
        layer = patches * self.width * (4 * self.width + 3 * self.mlp + 2 * self.patches)
        return patches * 3 * self.patch**2 * self.width + self.depth * layer


class _Block(nn.Module):
    def __init__(self, config: QwenVitConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm_attention = RmsNorm(width, EPS, offset=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = RmsNorm(width, EPS, offset=False)
        self.gate_up = nn.Linear(width, 2 * config.mlp)
        self.down = nn.Linear(config.mlp, width)

    def split(self, x: Tensor, by: Rope) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, n, width] to query, key, value, each [B, heads, n, d]."""
        qkv = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return rotate(query, by), rotate(key, by), value

    def join(
        self, x: Tensor, query: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None
    ) -> Tensor:
        out = functional.scaled_dot_product_attention(query, keys, values, attn_mask=seen)
        x = x + self.out(out.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.norm_mlp(x)).chunk(2, -1)
        return x + self.down(functional.silu(gate) * up)


class _Places(NamedTuple):
    """What follows from where patches are."""

    by: Rope  # [N, d / 2] each
    seen: Tensor  # bool [N, N]: in the same window

    def of(self, active: Tensor) -> "_Places":
        cos, sin = self.by
        return _Places((cos[active], sin[active]), self.seen[active])


class QwenVit(nn.Module):
    """As `Vit`: the same methods, the same store."""

    def __init__(self, config: QwenVitConfig) -> None:
        super().__init__()
        self.config = config
        self.patch = nn.Linear(3 * config.patch**2, config.width, bias=False)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm = RmsNorm(config.width, EPS, offset=False)
        self._places: _Places | None = None

    def store(self) -> VitStore:
        return VitStore(self.config, self.norm.weight.dtype, self.norm.weight.device)

    def forward(self, pixels: Tensor, store: VitStore | None = None) -> Tensor:
        """Normalised pixels [B, 3, H, W] to features [B, N, width].

        Fills a store, if given, for `partial`; then B must be 1.
        """
        places, x = self._known(), self.patch(cut(pixels, self.config))
        for layer, block in enumerate(self.blocks):
            query, key, value = block.split(x, places.by)
            if store is not None:
                store.keys[layer], store.values[layer] = key, value
            x = block.join(x, query, key, value, self._seen(layer, places))
        features = self.norm(x)
        if store is not None:
            store.features.copy_(features)
        return features

    @torch.no_grad()
    def partial(self, pixels: Tensor, active: Tensor, store: VitStore) -> Tensor:
        """The same [1, N, width], but only patches in `active`, bool [N], anew."""
        active = active.nonzero()[:, 0]
        places = self._known().of(active)
        x = self.patch(cut(pixels, self.config)[:, active])
        for layer, block in enumerate(self.blocks):
            query, key, value = block.split(x, places.by)
            keys, values = store.write(layer, active, key, value)
            x = block.join(x, query, keys, values, self._seen(layer, places))
        store.features.index_copy_(1, active, self.norm(x))
        return store.features.clone()

    def _seen(self, layer: int, places: _Places) -> Tensor | None:
        return None if layer in self.config.whole else places.seen

    def _known(self) -> _Places:
        """Once, where the weights are."""
        if self._places is None:
            weight = self.norm.weight
            with torch.inference_mode(False):
                self._places = _places(self.config, weight.dtype, weight.device)
        return self._places


def _places(config: QwenVitConfig, dtype: torch.dtype, device: torch.device) -> _Places:
    side = torch.arange(config.grid, device=device)
    at = torch.cartesian_prod(side, side)  # row and column of each patch
    quarter = torch.arange(0, config.width // config.heads // 2, 2, device=device)
    frequencies = _THETA ** (-2 * quarter.float() / (config.width // config.heads))
    angles = (at[..., None] * frequencies).flatten(1)
    windows = at // config.window
    seen = (windows[:, None] == windows[None, :]).all(-1)
    return _Places((angles.cos().to(dtype), angles.sin().to(dtype)), seen)
