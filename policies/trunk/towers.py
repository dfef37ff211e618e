"""Vision towers and projectors of public checkpoints, by their own names."""

from pathlib import Path

import torch
from tandem.policies.trunk.checkpoint import Checkpoint, fill
from tandem.policies.trunk.towers_qwen import find_qwen, load_qwen
from tandem.policies.trunk.vision import Projector, Tower, Vision
from tandem.policies.trunk.vision_names import VISIONS, TowerAt, VisionAt
from tandem.policies.trunk.vit import Vit, VitConfig
from tandem.runtime.errors import ConfigError, WeightsError
from torch import Tensor, nn


def load_vision(
    folder: Path | str,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    size_px: int | None = None,
) -> Vision:
    """Tower or towers, how they want pixels, and the projector; frozen, in evaluation mode.

    OpenVLA and CogACT (DINOv2 and SigLIP side by side), PaliGemma, π0, SmolVLM2, SmolVLA, GR00T
    N1.5, Qwen2.5-VL, or a SigLIP or DINOv2 with registers alone. `size_px` is for towers that take
    pictures of any size, and needed there.

    Raises:
        WeightsError: see `load_trunk`.
        ConfigError: a size that the tower cannot take.
    """
    checkpoint = Checkpoint(folder)
    qwen = find_qwen(checkpoint)
    if qwen is not None:
        return load_qwen(checkpoint, qwen, size_px, dtype, device)
    found = _find(checkpoint)
    dtype = dtype or checkpoint.read(_first_layer(found.towers[0], "up")).dtype
    towers = [Tower(_vit(checkpoint, at, dtype, device)) for at in found.towers]
    projector = _projector(checkpoint, found, dtype, device)
    vision = Vision(towers, [at.norm for at in found.towers], projector, found.fit).eval()
    if size_px not in (None, vision.size):
        raise ConfigError(
            f"s2.options.picture_px is {size_px}, this checkpoint's vision tower is made for "
            f"{vision.size}; leave it out"
        )
    return vision


def _find(checkpoint: Checkpoint) -> VisionAt:
    for vision in VISIONS:
        if all(f"{at.prefix}{at.spelling.patch}.weight" in checkpoint for at in vision.towers):
            return vision
    known = sorted({at.prefix for vision in VISIONS for at in vision.towers if at.prefix})
    raise WeightsError(
        f"{checkpoint.folder} has no vision tower under a known name; add its prefix to VISIONS "
        f"in policies/trunk/vision_names.py. Known: {', '.join(known)}"
    )


def _first_layer(at: TowerAt, module: str) -> str:
    return f"{at.prefix}{at.spelling.layers}0.{at.spelling.block[module][0]}.weight"


def _vit(
    checkpoint: Checkpoint, at: TowerAt, dtype: torch.dtype, device: torch.device | str
) -> Vit:
    prefix, position = _front(checkpoint, at)
    layers = checkpoint.numbered(at.prefix + at.spelling.layers)
    width, _, patch, _ = checkpoint.shape(f"{at.prefix}{at.spelling.patch}.weight")
    config = VitConfig(
        depth=layers - at.second_to_last,
        width=width,
        heads=_heads(checkpoint, at),
        mlp=checkpoint.shape(_first_layer(at, "up"))[0],
        patch=patch,
        grid=int(len(position) ** 0.5),
        prefix=len(prefix),
        activation="gelu" if at.exact_gelu else "gelu_tanh",
        scaled=at.spelling.scale is not None,
        final_norm=not at.second_to_last,
    )
    with torch.device("meta"):
        vit = Vit(config)
    names = _vit_names(at, config.depth)
    fill(vit, names, checkpoint, dtype, device, {"prefix": prefix, "position": position})
    return vit


def _front(checkpoint: Checkpoint, at: TowerAt) -> tuple[Tensor, Tensor]:
    """Tokens before the patches [P, width], positions added, and positions of patches [N, width].

    Towers run at the size that they were saved for: no position is interpolated.
    """
    spelling = at.spelling
    position = checkpoint.read(at.prefix + spelling.position).flatten(0, -2)
    tokens = [checkpoint.read(at.prefix + name).flatten(0, -2) for name in spelling.prefix]
    prefix = torch.cat(tokens) if tokens else position[:0]
    if spelling.position_of_class:
        prefix[0] += position[0]
        position = position[1:]
    return prefix, position


def _heads(checkpoint: Checkpoint, at: TowerAt) -> int:
    config = checkpoint.config
    config = config.get("vlm_config") or config
    # A tower alone has its configuration at the top, a policy around a language model has not.
    alone = not at.prefix or at.prefix == "vision_model."
    vision = config.get("vision_config") or (config if alone else {})
    return vision.get("num_attention_heads") or at.heads


def _vit_names(at: TowerAt, depth: int) -> dict[str, tuple[str, ...]]:
    """Every parameter of a Vit but the ready-made ones."""
    spelling = at.spelling
    modules = {"patch": (spelling.patch,), "norm": (spelling.norm,)}
    names = {}
    for layer in range(depth):
        prefix = f"{spelling.layers}{layer}."
        for ours, theirs in spelling.block.items():
            modules[f"blocks.{layer}.{ours}"] = tuple(prefix + name for name in theirs)
        for ours, theirs in zip(("attention", "mlp"), spelling.scale or (), strict=False):
            options = [at.prefix + prefix + option for option in theirs.split("|")]
            names[f"blocks.{layer}.scale_{ours}"] = ("|".join(options),)
    for ours, theirs in modules.items():
        for kind in ("weight", "bias"):
            names[f"{ours}.{kind}"] = tuple(f"{at.prefix}{name}.{kind}" for name in theirs)
    return names


def _projector(
    checkpoint: Checkpoint, found: VisionAt, dtype: torch.dtype, device: torch.device | str
) -> Projector | nn.Identity:
    if not found.projector:
        return nn.Identity()
    sizes = _sizes(checkpoint, found.projector)
    bias = f"{found.projector[0]}.bias" in checkpoint
    with torch.device("meta"):
        projector = Projector(sizes, bias, sizes[-1] ** 0.5 if found.scaled else 1.0)
    names = {
        f"layers.{i}.{kind}": (f"{layer}.{kind}",)
        for i, layer in enumerate(found.projector)
        for kind in ("weight", "bias")
    }
    fill(projector, names, checkpoint, dtype, device)
    return projector


def _sizes(checkpoint: Checkpoint, layers: tuple[str, ...]) -> list[int]:
    """Inputs of the first layer, then outputs of each."""
    shapes = [checkpoint.shape(f"{layer}.weight") for layer in layers]
    if any(len(shape) != 2 for shape in shapes):
        raise WeightsError(
            f"{checkpoint.folder} has a projector that is not known: {layers[0]} is no linear "
            "layer. GR00T N1.5 was published with one (mlp_connector_layers 1); the form with two "
            "is not computed"
        )
    return [shapes[0][1], *(shape[0] for shape in shapes)]
