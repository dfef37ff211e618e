"""What a SmolVLA can be trained with that is not computed here, and what to do about it.

Names of options: huggingface/lerobot, policies/smolvla/configuration_smolvla.py.
"""

from tandem.policies.trunk.checkpoint import Checkpoint
from tandem.runtime.errors import WeightsError

_EYE = "model.vlm_with_expert.vlm.model.vision_model.embeddings."


def check(checkpoint: Checkpoint) -> None:
    """
    Raises:
        WeightsError: words around pictures, or pictures of another size than the tower's.
    """
    config, file = checkpoint.config, checkpoint.folder / "config.json"
    if config.get("add_image_special_tokens"):
        raise WeightsError(
            f"{file} has add_image_special_tokens, whose words are embedded unlike all others; "
            "that is not computed. Train with it off, as lerobot/smolvla_base was"
        )
    size = _size(checkpoint)
    asked = config.get("resize_imgs_with_padding", [size, size])
    if asked != [size, size]:
        raise WeightsError(
            f"{file} has resize_imgs_with_padding {asked}, its vision tower is made for {size} "
            f"pixels a side; train with [{size}, {size}], as lerobot/smolvla_base was"
        )


def _size(checkpoint: Checkpoint) -> int:
    """Pixels a side that the tower has a position for."""
    places, _ = checkpoint.shape(f"{_EYE}position_embedding.weight")
    patch = checkpoint.shape(f"{_EYE}patch_embedding.weight")[-1]
    return round(places**0.5) * patch
