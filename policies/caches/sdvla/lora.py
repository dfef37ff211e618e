"""Low-rank adapters on a trunk's matrices (LoRA, arXiv 2106.09685), by peft.

The only module that imports peft: running needs none of it, a merged trunk is a plain trunk.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft import set_peft_model_state_dict as put_state
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tandem.policies.trunk.trunk import Trunk
from tandem.runtime.errors import WeightsError


@dataclass(frozen=True)
class Adapter:
    """Rank and scale of OpenVLA's own fine-tuning (vla-scripts/finetune.py): r = 32, α = 16."""

    rank: int = 32
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("qkv", "out", "gate_up", "down")


def adapt(trunk: Trunk, adapter: Adapter) -> None:
    """Freezes the trunk and puts trainable adapters beside its matrices. They begin at zero."""
    trunk.requires_grad_(False)
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.targets),
    )
    inject_adapter_in_model(config, trunk)


def save(trunk: Trunk, adapter: Adapter, path: Path) -> None:
    """Writes `path`.safetensors with the adapters alone, and .json with their shape."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = get_peft_model_state_dict(trunk)
    save_file(
        {name: t.contiguous() for name, t in tensors.items()}, path.with_suffix(".safetensors")
    )
    path.with_suffix(".json").write_text(json.dumps(asdict(adapter), indent=1) + "\n")


def load(trunk: Trunk, path: Path) -> None:
    """Puts saved adapters onto a trunk. Raises WeightsError: missing, damaged, of another trunk."""
    try:
        about = json.loads(path.with_suffix(".json").read_text())
        tensors = load_file(path.with_suffix(".safetensors"))
        adapt(trunk, Adapter(**{**about, "targets": tuple(about["targets"])}))
        odd = put_state(trunk, tensors).unexpected_keys
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"the adapters at {path} cannot be used ({error})") from error
    if odd:
        raise WeightsError(f"the adapters at {path} are of another trunk: {odd[0]} has no place")


def merge(trunk: Trunk) -> None:
    """Adds the adapters into the matrices and removes them: from now on they cost nothing."""
    for parent in list(trunk.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge()
                setattr(parent, name, child.get_base_layer())
