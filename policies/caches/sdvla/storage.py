"""A fine-tuned SD-VLA on disk: what stands around the trunk, and the trunk's adapters.

    parts.safetensors    projector, partition, gate, read-out and time code
    parts.json           shapes, so that they can be built again
    adapter.safetensors  LoRA of the trunk, with its own JSON; absent where the trunk was not tuned

The trunk itself stays where it came from: it is another's, and a hundred times larger.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.sdvla import partition
from tandem.policies.caches.sdvla.gate import Gate
from tandem.policies.caches.sdvla.geometry import Geometry
from tandem.policies.caches.sdvla.model import SdVla
from tandem.policies.trunk.trunk import Trunk
from tandem.runtime.errors import WeightsError
from torch import nn

FORMAT = 1


def save(model: SdVla, folder: Path) -> None:
    """Writes parts.safetensors and parts.json; adapters are saved by `lora.save`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: t.contiguous() for k, t in model.state_dict().items() if _own(k)}
    save_file(tensors, folder / "parts.safetensors")
    (folder / "parts.json").write_text(json.dumps(_about(model), indent=1) + "\n")


def load(folder: Path, trunk: Trunk, projector: nn.Module) -> SdVla:
    """The model around a trunk, its adapters merged in, to evaluate.

    projector: built as it was when saved; its weights are overwritten. Raises WeightsError:
    missing, damaged, made for another trunk or projector.
    """
    try:
        about = json.loads((folder / "parts.json").read_text())
        if about["format"] != FORMAT:
            raise WeightsError(f"{folder} is of format {about['format']}, not {FORMAT}")
        model = _build(about, trunk, projector)
        tensors = load_file(folder / "parts.safetensors")
        missing, odd = model.load_state_dict(tensors, strict=False)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"the parts in {folder} cannot be used ({error})") from error
    wrong = [*odd, *(name for name in missing if _own(name))]
    if wrong:
        raise WeightsError(f"the parts in {folder} do not fit this model: {wrong[0]}")
    if (folder / "adapter.json").exists():
        from tandem.policies.caches.sdvla import lora  # only here is peft needed

        lora.load(trunk, folder / "adapter")
        lora.merge(trunk)
    return model.eval().requires_grad_(False)


def _own(name: str) -> bool:
    return not name.startswith("trunk.")


def _about(model: SdVla) -> dict[str, Any]:
    geometry, gate = model.geometry, model.gate
    return {
        "format": FORMAT,
        "layout": asdict(model.layout),
        "mode": geometry.mode,
        "bidirectional": geometry.bidirectional,
        "grid": None if geometry.grid is None else geometry.grid.tolist(),
        "bos_tokens": model.bos_tokens,
        "partition": model.partition.about(),
        "gate": {
            "width": gate.width,
            "patches": gate.patches,
            "levels": gate.levels,
            "hidden": gate.hidden,
            "mixed": gate.mixed,
        },
    }


def _build(about: dict[str, Any], trunk: Trunk, projector: nn.Module) -> SdVla:
    layout = Layout(**{**about["layout"], "levels": tuple(about["layout"]["levels"])})
    grid = None if about["grid"] is None else torch.tensor(about["grid"])
    shapes = {k: tuple(v) if isinstance(v, list) else v for k, v in about["gate"].items()}
    return SdVla(
        trunk,
        projector,
        partition.build(about["partition"], [*layout.levels, layout.dynamic]),
        Gate(**shapes),
        Geometry(layout, about["mode"], about["bidirectional"], grid),
        about["bos_tokens"],
    )
