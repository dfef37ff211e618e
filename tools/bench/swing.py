"""A System 1 that never rests: every joint swings about where it was, smoothly, for ever.

The path is a function of time alone, so chunks planned at different times agree, and it starts from
rest: the amplitude grows over the first seconds. Far from any limit.
"""

from collections.abc import Sequence

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.interfaces import ActionSpec, Array, Observation, S1Spec
from tandem.runtime.messages import Conditioning

AMPLITUDE_RAD = 0.06
PERIOD_S = 4.0
RAMP_S = 4.0
GRIPPER_OPEN = 1.0
_HORIZON, _DT_NS = 16, 50 * NS_PER_MS


class Swing:
    """S1Policy without a System 2."""

    def __init__(self, joint_names: Sequence[str]) -> None:
        action = ActionSpec((*joint_names, "gripper"))
        self.spec = S1Spec(action, _HORIZON, _DT_NS, latent_id=None, max_age_ms=1e9)
        self._start: tuple[int, Array] | None = None

    def reset(self, instruction: str) -> None:
        self._start = None

    def step(self, obs: Observation, conditioning: Conditioning | None, committed: Array) -> Array:
        """[H, D]: targets at `state.t_ns + (i + 1)·dt_ns`."""
        state = obs.state
        assert state is not None
        if self._start is None:
            self._start = (state.t_ns, np.array(state.q_cmd))
        start_ns, centre = self._start
        steps_ns = np.arange(1, self.spec.horizon + 1) * self.spec.dt_ns
        t_s = (state.t_ns - start_ns + steps_ns) / NS_PER_S
        swing = AMPLITUDE_RAD * np.minimum(t_s / RAMP_S, 1.0) * np.sin(2 * np.pi * t_s / PERIOD_S)
        actions = np.full((self.spec.horizon, len(self.spec.action.names)), GRIPPER_OPEN)
        actions[:, :-1] = centre + swing[:, None]
        return actions


def make(joint_names: Sequence[str]) -> Swing:
    """Factory for the configuration; it needs no weights."""
    return Swing(joint_names)
