"""Known policies, or ways to train them, that are not computed here: why, and what to do."""

from tandem.policies.trunk.checkpoint import Checkpoint
from tandem.runtime.errors import WeightsError

_EYE = "model.vlm_with_expert.vlm.model.vision_model.embeddings."


def check(kind: str, checkpoint: Checkpoint) -> None:
    """
    Raises:
        WeightsError: with what to do.
    """
    match kind:
        case "smolvla":
            _check_smolvla(checkpoint)
        case "groot" | "gr00t_n1_5":
            _check_groot(checkpoint)


def _check_smolvla(checkpoint: Checkpoint) -> None:
    """Words around pictures, or pictures of another size than the tower's.

    Names of options: huggingface/lerobot, policies/smolvla/configuration_smolvla.py.
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


def _check_groot(checkpoint: Checkpoint) -> None:
    """LeRobot gives N1.5 and what came after it the same name."""
    if not any("backbone.eagle_model." in name for name in checkpoint):
        raise WeightsError(
            f"{checkpoint.folder} is no GR00T N1.5: it has no Eagle 2.5. The backbones of N1.6 and "
            "N1.7 are not computed; take an N1.5, such as nvidia/GR00T-N1.5-3B"
        )
