"""Weights on disk: safetensors in float16, and a JSON file with their shape and how they came."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tandem.policies.memory.config import MemoryConfig
from tandem.policies.memory.model import MemoryModel
from tandem.policies.s2.storage import resolve
from tandem.runtime.errors import WeightsError

FORMAT = 1
KIND = "sdvla_memory"


def save(model: MemoryModel, path: Path, notes: dict[str, Any]) -> None:
    """Writes `path`.safetensors and `path`.json; `notes` is for people."""
    tensors = {name: t.detach().half().contiguous() for name, t in model.state_dict().items()}
    about = {"format": FORMAT, "kind": KIND, "config": asdict(model.config), "notes": notes}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path.with_suffix(".safetensors"))
    path.with_suffix(".safetensors").chmod(0o644)  # safetensors writes for the owner alone
    path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


def load(name: str | Path) -> MemoryModel:
    """The model in float32, to evaluate, by shipped name or path.

    Raises:
        WeightsError: missing, damaged or of something else.
    """
    path = resolve(name)
    try:
        about = json.loads(path.with_suffix(".json").read_text())
        if about.get("kind") != KIND or about.get("format") != FORMAT:
            raise WeightsError(
                f"{path} is not {KIND} of format {FORMAT}; see `tandem train memory`"
            )
        shape = {k: tuple(v) if isinstance(v, list) else v for k, v in about["config"].items()}
        model = MemoryModel(MemoryConfig(**shape))
        model.load_state_dict(load_file(path.with_suffix(".safetensors")))
    except (OSError, ValueError, SafetensorError, TypeError, RuntimeError, KeyError) as error:
        raise WeightsError(
            f"{path} cannot be used ({error}); make it with `tandem train memory`"
        ) from error
    model.float().eval().requires_grad_(False)
    return model
