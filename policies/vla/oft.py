"""What lies beside the weights of an OpenVLA-OFT, and what of it System 2 can do without.

moojink/openvla-oft, vla-scripts/finetune.py writes into one folder

    *.safetensors                        all of OpenVLA, the adapter merged in
    lora_adapter/                        the adapter by itself
    action_head--<step>_checkpoint.pt    from hidden states to actions: System 1's part here
    proprio_projector--<step>_…          the robot's state as one more token behind the pictures
    vision_backbone--<step>_…            towers modulated by the instruction (FiLM)
    noisy_action_projector--<step>_…     diffusion: noisy actions in the empty slots
    dataset_statistics.json              ranges of its actions, for who carries them out

Nothing of it but the first is opened: those are pickles, and no latent depends on them.
"""

import json
from pathlib import Path

from tandem.runtime.errors import ConfigError, RefusedError, WeightsError

SKIP = "skip"


def has_action_head(folder: Path) -> bool:
    return _has(folder, "action_head")


def check_merged(folder: Path) -> None:
    """Raises WeightsError: the folder holds an adapter and not the model that it was made for."""
    if (folder / "lora_adapter").is_dir() and not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"{folder} holds an adapter by itself (lora_adapter), not the model; merge the two "
            "with openvla-oft's vla-scripts/merge_lora_weights_and_save.py and give that folder"
        )


def check(folder: Path, proprio: str) -> None:
    """What this checkpoint wants and System 2 does not give it.

    Raises:
        WeightsError: FiLM or diffusion.
        RefusedError: the robot's state, and the user has not said to leave it out.
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
    if _has(folder, "proprio_projector") and proprio != SKIP:
        raise RefusedError(
            f"{folder} was trained with the robot's state as a token (proprio_projector--*.pt). "
            "System 2 sees pictures and words only; the state goes to System 1. Take a checkpoint "
            "trained with --use_proprio False; or set s2.options.proprio to skip, which leaves the "
            "token out: its latents are then a little off what it was trained for, and System 1 "
            "must be trained on them as they are"
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
