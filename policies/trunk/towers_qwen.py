"""Qwen2.5-VL's vision tower and the layers that merge four of its patches, by their own names."""

from collections.abc import Mapping
from typing import Any

import torch
from tandem.policies.trunk.checkpoint import Checkpoint, fill
from tandem.policies.trunk.vision import Norm, Projector, Tower, Vision
from tandem.policies.trunk.vision_qwen import QwenVit, QwenVitConfig
from tandem.runtime.errors import ConfigError, WeightsError

_ROOTS = ("visual.", "model.visual.")  # as published, and as newer transformers save it
_MERGED = 2  # patches a side that become one row
# Qwen/Qwen2.5-VL-3B-Instruct, preprocessor_config.json (CLIP's)
CLIP = Norm((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_KINDS = ("weight", "bias")
_BLOCK = {
    "norm_attention.weight": ("norm1.weight",),
    "qkv.{}": ("attn.qkv.{}",),
    "out.{}": ("attn.proj.{}",),
    "norm_mlp.weight": ("norm2.weight",),
    "gate_up.{}": ("mlp.gate_proj.{}", "mlp.up_proj.{}"),
    "down.{}": ("mlp.down_proj.{}",),
}


def find_qwen(checkpoint: Checkpoint) -> str | None:
    """Where the tower stands; Qwen2-VL's and Qwen3-VL's are others."""
    mine = (root for root in _ROOTS if f"{root}blocks.0.mlp.gate_proj.weight" in checkpoint)
    return next((root for root in mine if f"{root}merger.ln_q.weight" in checkpoint), None)


def load_qwen(
    checkpoint: Checkpoint,
    root: str,
    size_px: int | None,
    dtype: torch.dtype | None,
    device: torch.device | str,
) -> Vision:
    """For squares of `size_px`.

    Raises:
        ConfigError: no size, or none that the tower can take.
        WeightsError: see `load_trunk`.
    """
    config = _config(checkpoint, root, size_px)
    dtype = dtype or checkpoint.read(f"{root}merger.mlp.0.weight").dtype
    with torch.device("meta"):
        vit = QwenVit(config)
        wide = config.width * _MERGED**2
        width = checkpoint.shape(f"{root}merger.mlp.2.weight")[0]
        projector = Projector((wide, wide, width), bias=True)
    # A picture is a film of two frames that are the same.
    patch = checkpoint.read(f"{root}patch_embed.proj.weight").float().sum(2).flatten(1)
    fill(vit, _names(root, config.depth), checkpoint, dtype, device, {"patch.weight": patch})
    layers = {f"layers.{i}.{k}": (f"{root}merger.mlp.{2 * i}.{k}",) for i in (0, 1) for k in _KINDS}
    fill(projector, layers, checkpoint, dtype, device)
    return Vision([Tower(vit)], [CLIP], projector).eval()


def _config(checkpoint: Checkpoint, root: str, size_px: int | None) -> QwenVitConfig:
    """What config.json says; what it leaves out is transformers' Qwen2_5_VLVisionConfig."""
    told = checkpoint.config.get("vision_config") or {}
    width, _, _, patch, _ = checkpoint.shape(f"{root}patch_embed.proj.weight")
    _check(told, checkpoint)
    return QwenVitConfig(
        depth=told.get("depth", 32),
        width=width,
        heads=told.get("num_heads", 16),
        mlp=checkpoint.shape(f"{root}blocks.0.mlp.gate_proj.weight")[0],
        patch=patch,
        grid=_grid(size_px, patch),
        window=told.get("window_size", 112) // patch // _MERGED * _MERGED,
        whole=tuple(told.get("fullatt_block_indexes", (7, 15, 23, 31))),
    )


def _check(told: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    computed = {"spatial_merge_size": _MERGED, "hidden_act": "silu"}
    for key, value in computed.items():
        if told.get(key, value) != value:
            raise WeightsError(
                f"{checkpoint.folder / 'config.json'} asks for a vision tower with {key} "
                f"{told[key]!r}; only {value!r}, which was published, is computed"
            )


def _grid(size_px: int | None, patch: int) -> int:
    """Patches a side."""
    step = patch * _MERGED
    if size_px is None or size_px < step or size_px % step:
        raise ConfigError(
            f"s2.options.picture_px is {size_px}; this checkpoint takes pictures of any size: give "
            f"the one of your own training, a multiple of {step} ({8 * step} makes 64 rows of each)"
        )
    return size_px // patch


def _names(root: str, depth: int) -> dict[str, tuple[str, ...]]:
    """Every parameter of a QwenVit but the ready-made one."""
    names = {"norm.weight": (f"{root}merger.ln_q.weight",)}
    for layer in range(depth):
        prefix = f"{root}blocks.{layer}."
        for ours, theirs in _BLOCK.items():
            for kind in _KINDS:
                sources = tuple(prefix + name.format(kind) for name in theirs)
                names[f"blocks.{layer}.{ours.format(kind)}"] = sources
    return names
