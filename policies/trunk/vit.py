"""Vision transformer, whole or only some patches of it.

`partial` computes the rows of a few patches against keys and values kept of the others, layer by
layer, so that the work really falls with the share of patches that changed. Rows that were not
computed stand as they were; if all are computed, the result is that of `forward`.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from tandem.policies.trunk.packed import GeluLinear
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class VitConfig:
    """SigLIP is the default of every optional field; DINOv2 has `prefix` rows and `scaled`."""

    depth: int  # layers that are computed
    width: int
    heads: int
    mlp: int
    patch: int  # pixels a side
    grid: int  # patches a side
    prefix: int = 0  # rows before the patches: class token and registers
    activation: Literal["gelu", "gelu_tanh"] = "gelu_tanh"
    scaled: bool = False  # learned scale per channel of what a block adds
    final_norm: bool = True
    eps: float = 1e-6

    @property
    def patches(self) -> int:
        return self.grid**2

    @property
    def rows(self) -> int:
        return self.prefix + self.patches

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.grid * self.patch

    def macs(self, patches: int) -> int:
        """Multiply-adds when `patches` of them are computed; rows before them always are."""
        rows = self.prefix + patches
        layer = rows * self.width * (4 * self.width + 2 * self.mlp + 2 * self.rows)
        return patches * 3 * self.patch**2 * self.width + self.depth * layer


class VitStore:
    """Of the last picture: keys and values [depth, 1, heads, rows, d], and features."""

    def __init__(self, config: VitConfig, dtype: torch.dtype, device: torch.device) -> None:
        shape = (config.depth, 1, config.heads, config.rows, config.width // config.heads)
        # Ordinary tensors, even if made in inference mode: outside of it they are written too.
        with torch.inference_mode(False):
            self.keys = torch.zeros(shape, dtype=dtype, device=device)
            self.values = torch.zeros(shape, dtype=dtype, device=device)
            self.features = torch.zeros(1, config.patches, config.width, dtype=dtype, device=device)

    def write(self, layer: int, rows: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts [1, heads, n, d] at `rows` [n]; returns all keys and values of the layer."""
        keys, values = self.keys[layer], self.values[layer]
        keys.index_copy_(2, rows, key)
        values.index_copy_(2, rows, value)
        return keys, values


class _Block(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(width, config.eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.scale_attention = nn.Parameter(torch.ones(width)) if config.scaled else None
        self.norm_mlp = nn.LayerNorm(width, config.eps)
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
        self.norm = nn.LayerNorm(config.width, config.eps) if config.final_norm else None

    def store(self) -> VitStore:
        return VitStore(self.config, self.position.dtype, self.position.device)

    def macs(self, patches: int) -> int:
        return self.config.macs(patches)

    def forward(self, pixels: Tensor, store: VitStore | None = None) -> Tensor:
        """Normalised pixels [B, 3, H, W] to features [B, N, width] in raster order.

        Fills a store, if given, for `partial`; then B must be 1.
        """
        x = self._embed(_patches(pixels, self.config))
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
        """The same [1, N, width], but only patches in `active`, bool [N] or int64 indices, anew.

        The rows before the patches are always computed. All work but the normalised pixels' own
        is in proportion to the active rows.
        """
        active = active.nonzero()[:, 0] if active.dtype == torch.bool else active
        first = torch.arange(self.config.prefix, device=active.device)
        rows = torch.cat((first, active + self.config.prefix))
        x = self._embed(_patches(pixels, self.config)[:, active], active)
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


def _patches(pixels: Tensor, config: VitConfig) -> Tensor:
    """[B, 3, H, W] to [B, N, 3 · patch²], channel first, as a convolution's weights lie."""
    size, grid, patch = config.size, config.grid, config.patch
    if pixels.shape[-2:] != (size, size):
        raise ValueError(f"pictures must be {size}×{size}, not {tuple(pixels.shape[-2:])}")
    split = pixels.reshape(len(pixels), 3, grid, patch, grid, patch)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(len(pixels), grid * grid, -1)
