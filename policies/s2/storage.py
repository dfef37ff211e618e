"""Weights on disk: safetensors in float16 and a JSON file with what the numbers mean.

`latent_id` names the meaning of the latent: a hash over every stored tensor that the latent depends
on and over the shape of the model. The gate is left out, it decides when and not what.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.model import S2Model
from tandem.runtime.errors import WeightsError
from torch import Tensor

FORMAT = 1
SHIPPED = Path(__file__).resolve().parent.parent / "weights"


def latent_id(tensors: dict[str, Tensor], config: S2Config) -> str:
    """Hash of what the latent depends on, as 16 hex digits; tensors as stored."""
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode())
    for name in sorted(tensors):
        if not name.startswith("gate."):
            digest.update(name.encode())
            digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _stored(model: S2Model) -> dict[str, Tensor]:
    return {name: t.detach().half().contiguous() for name, t in model.state_dict().items()}


def save_model(model: S2Model, path: Path, notes: dict[str, Any] | None = None) -> str:
    """Writes `path`.safetensors and .json; returns the latent_id. `notes` is for people."""
    tensors = _stored(model)
    name = latent_id(tensors, model.config)
    about = {
        "format": FORMAT,
        "kind": "sdvla",
        "latent_id": name,
        "config": asdict(model.config),
        "notes": notes or {},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path.with_suffix(".safetensors"))
    path.with_suffix(".safetensors").chmod(0o644)  # safetensors writes for the owner alone
    path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")
    return name


def resolve(name: str | Path) -> Path:
    """A name of shipped weights, or a path with or without suffix, to the path without suffix."""
    given = Path(name)
    path = given if len(given.parts) > 1 or given.suffix else SHIPPED / given
    return path.with_suffix("") if path.suffix in (".safetensors", ".json") else path


def read_about(name: str | Path) -> dict[str, Any]:
    """The JSON beside the weights. Raises WeightsError with the names that exist."""
    path = resolve(name).with_suffix(".json")
    try:
        about: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        found = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none"
        raise WeightsError(f"no weights at {path}; there: {found}") from error
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path} is damaged ({error}); fetch or train it again") from error
    if about.get("kind") != "sdvla" or about.get("format") != FORMAT:
        raise WeightsError(f"{path} is not SD-VLA weights of format {FORMAT}; train them again")
    return about


def load_model(name: str | Path) -> S2Model:
    """The model in float32, to evaluate. Raises WeightsError: missing, damaged, mismatched."""
    about = read_about(name)
    path = resolve(name).with_suffix(".safetensors")
    try:
        tensors = load_file(path)
        shape = {k: tuple(v) if isinstance(v, list) else v for k, v in about["config"].items()}
        model = S2Model(S2Config(**shape))
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, TypeError, RuntimeError, KeyError) as error:
        raise WeightsError(f"{path} cannot be used ({error}); fetch or train it again") from error
    found = latent_id(tensors, model.config)
    if found != about["latent_id"]:
        raise WeightsError(
            f"{path} hashes to {found}, its JSON says {about['latent_id']}: mixed files"
        )
    model.float().eval().requires_grad_(False)
    return model
