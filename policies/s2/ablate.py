"""System 2 with one of its parts taken away, to show in closed loop that each is used.

`shut`: the gate never opens after the first frame. `foreign_statics`: shut, and the static tokens
are those of a scene that is not this one. `old_dynamics`: the dynamic tokens show the frame of a
second ago, the gate sees the present.
"""

from collections import deque
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.policy import SdVla
from tandem.policies.s2.storage import load_model, read_about
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import Frame, Observation
from tandem.runtime.messages import Conditioning
from torch import Tensor

Kind = Literal["shut", "foreign_statics", "old_dynamics"]
KINDS: tuple[Kind, ...] = ("shut", "foreign_statics", "old_dynamics")
_NEVER_FRAMES = 10**9


class Shut(SdVla):
    """Statics of the first frame for ever, or of `foreign`, an image [H, W, 3] of another scene."""

    def __init__(
        self, model: S2Model, latent_id: str, foreign: np.ndarray | None = None, **options: Any
    ) -> None:
        shut = {"thresholds": (1.0, 1.0), "max_age_frames": _NEVER_FRAMES}
        super().__init__(model, latent_id, **(options | shut))
        self._foreign = foreign

    def step(self, obs: Observation, force_refresh: int | None = None) -> Conditioning:
        if self._foreign is not None and not self.engine.references:
            camera = self.spec.cameras[0]
            super().step(Observation(obs.t_ns, {camera: Frame(self._foreign, obs.t_ns, 0)}))
        return super().step(obs, force_refresh)


class OldDynamics(SdVla):
    """Dynamic tokens of `delay` frames ago."""

    def __init__(self, model: S2Model, latent_id: str, delay: int = 10, **options: Any) -> None:
        super().__init__(model, latent_id, **options)
        self._past: deque[Tensor] = deque(maxlen=delay + 1)

    def _dynamic(self, features: Tensor) -> Tensor:
        self._past.append(features)
        return self._past[0]

    def forget(self) -> None:
        super().forget()
        self._past.clear()


def ablated(
    weights: str | Path, kind: Kind, foreign: np.ndarray | None = None, **options: Any
) -> SdVla:
    """The policy without one part; options as of SdVla. Raises ConfigError, WeightsError."""
    model, name = load_model(weights), read_about(weights)["latent_id"]
    match kind:
        case "shut":
            return Shut(model, name, None, **options)
        case "foreign_statics":
            if foreign is None:
                raise ConfigError("foreign_statics needs the image of another scene")
            return Shut(model, name, foreign, **options)
        case "old_dynamics":
            return OldDynamics(model, name, **options)
    raise ConfigError(f"no ablation '{kind}'; there are {', '.join(KINDS)}")
