"""`ChunkPolicy`: a regression head behind ONNX Runtime, as the runtime sees it."""

from pathlib import Path

import numpy as np
from tandem.policies.s1.inputs import Memory, Remembered, state_of
from tandem.policies.s1.onnx import Device, Session
from tandem.policies.s1.storage import About, read_about, resolve
from tandem.runtime.errors import WeightsError
from tandem.runtime.interfaces import ActionSpec, Observation, S1Spec
from tandem.runtime.messages import Conditioning, RobotState

Array = np.ndarray


class ChunkPolicy:
    """State and conditioning in, one chunk out; nothing is sampled, so the same gives the same."""

    kinds = ("chunk_mlp",)

    def __init__(self, weights: str | Path, device: Device = "cpu") -> None:
        """
        Raises:
            WeightsError: missing or damaged weights, or a device that was not granted.
        """
        self.about = read_about(weights, self.kinds)
        self.session = Session(resolve(weights).with_suffix(".onnx"), device)
        self.spec = _spec(self.about)
        self._memory = Memory(self.about.gap_ms * 1e-3, self.about.max_age_ms * 1e-3)

    @property
    def provider(self) -> str:
        """The ONNX Runtime provider that really runs it."""
        return self.session.provider

    def reset(self, instruction: str) -> None:
        """Forget what was seen: latents of another instruction cannot be compared."""
        self._memory.clear()

    def step(self, obs: Observation, conditioning: Conditioning | None, committed: Array) -> Array:
        """Actions [H, D] planned from `obs.state`; `committed` is not needed by regression.

        Raises:
            WeightsError: the conditioning comes from another S2 than the one trained with.
        """
        state, remembered = self._inputs(obs, conditioning)
        inputs = named_inputs(state, remembered)
        return self.session.run(**inputs)["actions"][0].astype(np.float64)

    def _inputs(
        self, obs: Observation, conditioning: Conditioning | None
    ) -> tuple[RobotState, Remembered]:
        if obs.state is None or conditioning is None:
            raise ValueError("a two-system policy needs a state and a conditioning to plan from")
        check_partner(self.about, conditioning)
        return obs.state, self._memory.take(conditioning, obs.state.t_ns)


def named_inputs(state: RobotState, remembered: Remembered) -> dict[str, Array]:
    """The graph's inputs, batch of one."""
    return {
        "state": state_of(state)[None],
        "latent": remembered.latent[None],
        "before": remembered.before[None],
        "times": np.array([[remembered.age_s, remembered.gap_s]], np.float32),
    }


def check_partner(about: About, conditioning: Conditioning) -> None:
    """A head trained on another S2 would see noise and move by it."""
    if conditioning.latent_id != about.latent_id:
        raise WeightsError(
            f"S1 was trained on latents {about.latent_id}, S2 sends {conditioning.latent_id}; "
            "use the weights of one training, or train S1 again"
        )
    if conditioning.latent.shape != about.latent_shape:
        raise WeightsError(
            f"S1 takes latents {about.latent_shape}, S2 sends {conditioning.latent.shape}"
        )


def _spec(about: About) -> S1Spec:
    return S1Spec(
        action=ActionSpec(about.actions),
        horizon=about.horizon,
        dt_ns=about.dt_ns,
        latent_id=about.latent_id,
        max_age_ms=about.max_age_ms,
    )
