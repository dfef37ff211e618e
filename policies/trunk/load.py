"""Public checkpoints from a local folder, by their own names, into our trunk."""

from pathlib import Path

import torch
from tandem.policies.trunk.checkpoint import Checkpoint, fill
from tandem.policies.trunk.families import find_root, trunk_config
from tandem.policies.trunk.names import trunk_names
from tandem.policies.trunk.trunk import Trunk


def load_trunk(
    folder: Path | str,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Trunk:
    """The language model of a downloaded VLA or VLM; frozen, in evaluation mode.

    Llama (OpenVLA, CogACT, SmolVLM2, SmolVLA), Gemma (PaliGemma, π0), Qwen2.5-VL, Qwen3 (GR00T
    N1.5), as deep as the policy around it keeps it. `dtype` None keeps that of the checkpoint's
    matrices (π0 keeps a few tensors in another).

    Raises:
        WeightsError: a file or tensor is missing or of the wrong shape, the architecture is
            unknown, or the weights are pickled; the message says what to do.
    """
    checkpoint = Checkpoint(folder)
    root = find_root(checkpoint)
    config = trunk_config(checkpoint, root)
    with torch.device("meta"):
        trunk = Trunk(config)
    dtype = dtype or checkpoint.read(f"{root.prefix}layers.0.self_attn.q_proj.weight").dtype
    fill(trunk, trunk_names(root, config.depth), checkpoint, dtype, device)
    return trunk
