"""What a policy's spec promises, held against what it gives: the arm moves by these numbers."""

import numpy as np
from tandem.runtime.errors import WeightsError, WireError
from tandem.runtime.interfaces import Array, S1Spec, S2Spec
from tandem.runtime.messages import Conditioning


def check_partner(spec: S1Spec, latent_id: str) -> None:
    """A head trained on another System 2 would see noise, and move by it.

    Raises:
        WeightsError: the latents are not the ones that it was trained on.
    """
    if spec.latent_id is not None and latent_id != spec.latent_id:
        raise WeightsError(
            f"S1 was trained on latents {spec.latent_id}, S2 sends {latent_id}; "
            "use the weights of one training, or train S1 again"
        )


def check_latent(said: Conditioning, spec: S2Spec) -> None:
    """
    Raises:
        WireError: the latent is of another shape or type, or not finite.
    """
    latent = said.latent
    if latent.shape != tuple(spec.latent_shape) or latent.dtype != np.float16:
        raise WireError(
            f"the latent is {latent.dtype} {latent.shape}, its spec says float16 "
            f"{spec.latent_shape}; correct the policy's step() or its spec"
        )
    if not np.isfinite(latent).all():
        raise WireError("the latent holds numbers that are not finite")


def checked_actions(actions: Array, spec: S1Spec) -> Array:
    """[H, D] float64, finite.

    Raises:
        WireError: the policy gave something else.
    """
    expected = (spec.horizon, len(spec.action.names))
    if np.shape(actions) != expected:
        raise WireError(
            f"the chunk is {np.shape(actions)}, its spec says {expected}; "
            "correct the policy's step() or its spec"
        )
    actions = np.asarray(actions, np.float64)
    if not np.isfinite(actions).all():
        raise WireError("the chunk holds numbers that are not finite")
    return actions
