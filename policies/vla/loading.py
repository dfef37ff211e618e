"""A checkpoint's networks where they are to run, and what hidden states become on the way out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tandem.policies.caches.sdvla import storage
from tandem.policies.caches.sdvla.model import SdVla
from tandem.policies.trunk.graphs import GraphedTrunk
from tandem.policies.trunk.load import load_trunk
from tandem.policies.trunk.packed import pack
from tandem.policies.trunk.towers import load_vision
from tandem.policies.trunk.trunk import Trunk
from tandem.policies.trunk.vision import Vision
from tandem.runtime.errors import ConfigError, DeviceError, WeightsError
from torch import Tensor, nn

Precision = Literal["bfloat16", "float32"]
PROJECTOR = "tandem_readout.safetensors"  # looked for in the checkpoint's folder


@dataclass(frozen=True)
class Networks:
    vision: Vision
    trunk: Trunk
    parts: SdVla | None  # around the same trunk


def device_of(name: str) -> torch.device:
    """ "auto": a GPU where there is one. Raises DeviceError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"s2.options.device {name!r} is none; cpu, cuda or auto") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "s2.options.device asks for cuda, but torch sees no GPU; `tandem doctor` says why, "
            "auto takes what there is"
        )
    return device


def dtype_of(name: str) -> torch.dtype:
    known = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    if name not in known:
        raise ConfigError(f"s2.options.dtype {name!r} is not offered; {' or '.join(known)}")
    return known[name]


def networks(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    parts: Path | None,
    picture_px: int | None = None,
) -> Networks:
    """Steps recorded on a GPU, weights packed on a CPU.

    Raises:
        ConfigError: see `load_vision`.
        WeightsError: see `load_trunk`; or the SD-VLA parts do not fit the checkpoint.
    """
    vision = load_vision(folder, dtype, device, picture_px)
    trunk = load_trunk(folder, dtype, device)
    model = None
    if parts is not None:
        model = storage.load(parts, trunk, vision.projector).to(device, dtype)
    if device.type == "cuda":
        trunk = GraphedTrunk(trunk)
    else:
        pack(vision), pack(trunk)
    if model is not None:
        model.trunk = trunk
    return Networks(vision, trunk, model)


class Readout(nn.Module):
    """Hidden states [K, width] to the latent [K, D]: by a learned linear map, or as they are."""

    def __init__(self, file: Path | None, width: int) -> None:
        """
        Raises:
            WeightsError: the file is not there, damaged, or of another width.
        """
        super().__init__()
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self.width = width
        if file is not None:
            self._load(file)

    def _load(self, file: Path) -> None:
        try:
            tensors = load_file(file)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"{file} cannot be used ({error}); train or copy it again"
            ) from error
        weight = tensors.get("weight")
        if weight is None or weight.dim() != 2 or weight.shape[1] != self.width:
            shape = None if weight is None else [*weight.shape]
            raise WeightsError(
                f"{file} must hold `weight` [D, {self.width}] and may hold `bias` [D]; its weight "
                f"is {shape}"
            )
        self.weight, self.bias = weight.float(), tensors.get("bias")
        self.width = len(weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """float32 on the CPU: a few rows."""
        hidden = hidden.float().cpu()
        if self.weight is None:
            return hidden
        bias = None if self.bias is None else self.bias.float()
        return nn.functional.linear(hidden, self.weight, bias)
