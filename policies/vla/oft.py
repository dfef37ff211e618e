"""What lies beside the weights of an OpenVLA-OFT, and what of it System 2 can do without.

moojink/openvla-oft, vla-scripts/finetune.py writes into one folder

    *.safetensors                        all of OpenVLA, the adapter merged in
    lora_adapter/                        the adapter by itself
    action_head--<step>_checkpoint.pt    from hidden states to actions: System 1's part here
    proprio_projector--<step>_…          the arm's state as one more row behind the pictures
    vision_backbone--<step>_…            towers modulated by the instruction (FiLM)
    noisy_action_projector--<step>_…     diffusion: noisy actions in the empty slots
    dataset_statistics.json              ranges of its actions, and of the arm's state

Only the first and the projector of the state are opened, that one by a reader that runs nothing.
The others are pickles on which no latent depends.
"""

import hashlib
import json
from pathlib import Path
from pickle import UnpicklingError

import torch
from tandem.policies.trunk.trunk import Trunk
from tandem.runtime.errors import ConfigError, RefusedError, WeightsError
from torch import Tensor, nn

SKIP = "skip"
_PROJECTOR = "proprio_projector"


def has_action_head(folder: Path) -> bool:
    return _has(folder, "action_head")


def check_merged(folder: Path) -> None:
    """Raises WeightsError: the folder holds an adapter and not the model that it was made for."""
    if (folder / "lora_adapter").is_dir() and not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"{folder} holds an adapter by itself (lora_adapter), not the model; merge the two "
            "with openvla-oft's vla-scripts/merge_lora_weights_and_save.py and give that folder"
        )


class Projector(nn.Module):
    """The arm's state [n] to one row [1, width] (prismatic/models/projectors.py)."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        width, self.numbers = tensors["fc1.weight"].shape
        self.fc1, self.fc2 = nn.Linear(self.numbers, width), nn.Linear(width, width)
        self.load_state_dict(tensors)
        self.eval().requires_grad_(False)
        told = hashlib.sha256()
        for name, tensor in sorted(tensors.items()):
            told.update(name.encode() + tensor.numpy().tobytes())
        self.digest = told.hexdigest()[:16]  # tells it from another

    def forward(self, numbers: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(numbers[None])))

    def beside(self, trunk: Trunk) -> "Projector":
        """Where the language model is, and of its precision.

        Raises:
            WeightsError: that one takes rows of another width.
        """
        if self.fc2.out_features != trunk.config.width:
            raise WeightsError(
                f"{_PROJECTOR}--*.pt makes rows of {self.fc2.out_features}, this language model "
                f"takes {trunk.config.width}; the two are not from the same training"
            )
        weight = trunk.norm.weight
        return self.to(weight.device, weight.dtype)


def projector(folder: Path, numbers: int) -> Projector:
    """float32, on the CPU; of a state of so many numbers.

    Raises:
        ConfigError: it was trained with another number of them.
        WeightsError: not one file, or damaged.
    """
    files = sorted(folder.glob(f"{_PROJECTOR}--*"))
    if len(files) != 1:
        raise WeightsError(
            f"{folder} has {len(files)} of {_PROJECTOR}--*.pt; keep the one of the same step as "
            "the weights"
        )
    try:
        tensors = torch.load(files[0], "cpu", weights_only=True)
        named = {name.removeprefix("module."): t.float() for name, t in tensors.items()}
        made = Projector(named)
    except (UnpicklingError, RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{files[0]} is not the two layers of OpenVLA-OFT's projector ({error}); copy it again"
        ) from error
    if made.numbers != numbers:
        raise ConfigError(
            f"s2.options.state makes {numbers} numbers, {files[0]} was trained with "
            f"{made.numbers}; name the parts of its own training"
        )
    return made


def has_projector(folder: Path) -> bool:
    return _has(folder, _PROJECTOR)


def check(folder: Path, told_of_state: bool) -> None:
    """What this checkpoint wants and System 2 does not give it.

    Raises:
        WeightsError: FiLM or diffusion.
        RefusedError: the arm's state, of which the user has not said what it is.
    """
    if _has(folder, "vision_backbone"):
        raise WeightsError(
            f"{folder} was trained with FiLM (vision_backbone--*.pt): what its towers see hangs on "
            "the instruction, so that nothing of a picture could be kept. Take a checkpoint that "
            "was trained with --use_film False"
        )
    if _has(folder, "noisy_action_projector"):
        raise WeightsError(
            f"{folder} was trained to denoise actions (noisy_action_projector--*.pt), which takes "
            "many passes through the whole model. Take one trained with --use_l1_regression True"
        )
    if has_projector(folder) and not told_of_state:
        raise RefusedError(
            f"{folder} was trained with the arm's state (proprio_projector--*.pt), and no file "
            "says what its numbers are. Say it as s2.options.state: tool_position+tool_rotvec+"
            "fingers for LIBERO; or set s2.options.proprio to skip, which leaves it out: latents "
            "are then a little off what it was trained for, and System 1 must be trained on them "
            "as they are"
        )


def check_numbers(folder: Path, numbers: int) -> None:
    """Raises ConfigError: actions of this checkpoint have another number of numbers."""
    file = folder / "dataset_statistics.json"
    if not file.is_file():
        return
    try:
        told = {len(about["action"]["mean"]) for about in json.loads(file.read_text()).values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # written by another program: it says nothing
    if told and numbers not in told:
        raise ConfigError(
            f"{file} has actions of {min(told)} numbers, s2.options.actions of {numbers}; give it "
            f"as [steps of a chunk, {min(told)}]: [8, 7] for LIBERO, [25, 14] for ALOHA"
        )


def _has(folder: Path, part: str) -> bool:
    return any(folder.glob(f"{part}--*"))
