"""Vision transformer, whole or only some patches of it.

`partial` computes the rows of a few patches against keys and values kept of the others, layer by
layer, so that the work really falls with the share of patches that changed. Rows that were not
computed stand as they were; if all are computed, the result is that of `forward`.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from tandem.policies.trunk.kv import Rows
from tandem.policies.trunk.packed import GeluLinear
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-6  # of the norms, in every tower known


@dataclass(frozen=True)
class TowerConfig:
    """A transformer on a square of patches."""

    depth: int  # layers that are computed
    width: int
    heads: int
    mlp: int
    patch: int  # pixels a side
    grid: int  # patches a side

    @property
    def patches(self) -> int:
        return self.grid**2

    @property
    def rows(self) -> int:
        return self.patches

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.grid * self.patch


@dataclass(frozen=True)
class VitConfig(TowerConfig):
    """SigLIP is the default of every optional field; DINOv2 has `prefix` rows and `scaled`."""

    prefix: int = 0  # rows before the patches: class token and registers
    activation: Literal["gelu", "gelu_tanh"] = "gelu_tanh"
    scaled: bool = False  # learned scale per channel of what a block adds
    final_norm: bool = True

    @property
    def rows(self) -> int:
        return self.prefix + self.patches

    def macs(self, patches: int) -> int:
        """Multiply-adds when `patches` of them are computed; rows before them always are."""
        rows = self.prefix + patches
        layer = rows * self.width * (4 * self.width + 2 * self.mlp + 2 * self.rows)
        return patches * 3 * self.patch**2 * self.width + self.depth * layer


class VitStore(Rows):
    """Of the last picture: keys and values, and features [1, N, width]."""

    def __init__(self, config: TowerConfig, dtype: torch.dtype, device: torch.device) -> None:
        shape = (config.depth, 1, config.heads, config.rows, config.width // config.heads)
        super().__init__(shape, dtype, device)
        with torch.inference_mode(False):
            self.features = torch.zeros(1, config.patches, config.width, dtype=dtype, device=device)


class _Block(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(width, EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.scale_attention = nn.Parameter(torch.ones(width)) if config.scaled else None
        self.norm_mlp = nn.LayerNorm(width, EPS)
        approximate = "tanh" if config.activation == "gelu_tanh" else "none"
        self.up = GeluLinear(width, config.mlp, approximate)
        self.down = nn.Linear(config.mlp, width)
        self.scale_mlp = nn.Parameter(torch.ones(width)) if config.scaled else None

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, n, width] to query, key, value, each [B, heads, n, d]."""
        qkv = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return query, key, value

    def join(self, x: Tensor, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        seen = functional.scaled_dot_product_attention(query, keys, values)
        x = x + _scaled(self.out(seen.transpose(1, 2).flatten(2)), self.scale_attention)
        return x + _scaled(self.down(self.up(self.norm_mlp(x))), self.scale_mlp)


def _scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale


class Vit(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.patch = nn.Linear(3 * config.patch**2, config.width)
        # Tokens before the patches, their positions included.
        self.prefix = nn.Parameter(torch.zeros(config.prefix, config.width))
        self.position = nn.Parameter(torch.zeros(config.patches, config.width))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, EPS) if config.final_norm else None

    def store(self) -> VitStore:
        return VitStore(self.config, self.position.dtype, self.position.device)

    def forward(self, pixels: Tensor, store: VitStore | None = None) -> Tensor:
        """Normalised pixels [B, 3, H, W] to features [B, N, width] in raster order.

        Fills a store, if given, for `partial`; then B must be 1.
        """
        x = self._embed(cut(pixels, self.config))
        for layer, block in enumerate(self.blocks):
            query, key, value = block.split(x)
            if store is not None:
                store.keys[layer], store.values[layer] = key, value
            x = block.join(x, query, key, value)
        features = self._features(x)
        if store is not None:
            store.features.copy_(features)
        return features

    @torch.no_grad()
    def partial(self, pixels: Tensor, active: Tensor, store: VitStore) -> Tensor:
        """The same [1, N, width], but only patches in `active`, bool [N], anew.

        The rows before the patches are always computed. All work but the normalised pixels' own
        is in proportion to the active rows.
        """
        active = active.nonzero()[:, 0]
        first = torch.arange(self.config.prefix, device=active.device)
        rows = torch.cat((first, active + self.config.prefix))
        x = self._embed(cut(pixels, self.config)[:, active], active)
        for layer, block in enumerate(self.blocks):
            query, key, value = block.split(x)
            x = block.join(x, query, *store.write(layer, rows, key, value))
        store.features.index_copy_(1, active, self._features(x))
        return store.features.clone()

    def _embed(self, patches: Tensor, active: Tensor | None = None) -> Tensor:
        position = self.position if active is None else self.position[active]
        return torch.cat(
            (self.prefix.expand(len(patches), -1, -1), self.patch(patches) + position), 1
        )

    def _features(self, x: Tensor) -> Tensor:
        x = x[:, self.config.prefix :]
        return x if self.norm is None else self.norm(x)


def cut(pixels: Tensor, config: TowerConfig) -> Tensor:
    """[B, 3, H, W] to [B, N, 3 · patch²], channel first, as a convolution's weights lie."""
    size, grid, patch = config.size, config.grid, config.patch
    if pixels.shape[-2:] != (size, size):
        raise ValueError(f"pictures must be {size}×{size}, not {tuple(pixels.shape[-2:])}")
    split = pixels.reshape(len(pixels), 3, grid, patch, grid, patch)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(len(pixels), grid * grid, -1)
