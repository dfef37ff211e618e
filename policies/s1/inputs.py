"""From messages to the vectors that a head takes: the one place where their order is written."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.messages import Conditioning, RobotState

Array = np.ndarray


def state_vector(q_cmd: Array, dq_cmd: Array, gripper: Array, width_m: Array) -> Array:
    """[..., 2·D + 2] float32: the command as it was applied, not what was measured.

    Planning from the measured position would feed the arm's impedance error back into its own
    target.
    """
    parts = [q_cmd, dq_cmd, np.asarray(gripper)[..., None], np.asarray(width_m)[..., None]]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def state_of(state: RobotState) -> Array:
    return state_vector(
        state.q_cmd, state.dq_cmd, np.array(state.gripper_cmd), np.array(state.width_m)
    )


@dataclass(frozen=True)
class Remembered:
    """The conditioning now and some time before, with their times."""

    latent: Array  # [K·D] float32
    before: Array  # [K·D] float32
    age_s: float
    gap_s: float


class Memory:
    """Keeps the last conditionings, so that a head sees what moved between two of them."""

    def __init__(self, gap_s: float, age_max_s: float, depth: int = 32) -> None:
        self._gap_ns = round(gap_s * NS_PER_S)
        self._age_max_s = age_max_s
        self._seen: deque[tuple[int, Array]] = deque(maxlen=depth)

    def clear(self) -> None:
        self._seen.clear()

    def take(self, conditioning: Conditioning, t_state_ns: int) -> Remembered:
        """Remember it, and return it with the newest one that is at least `gap_s` older."""
        t_ns = conditioning.t_capture_ns
        if not self._seen or t_ns > self._seen[-1][0]:
            self._seen.append((t_ns, conditioning.latent.astype(np.float32).reshape(-1)))
        t_ns, latent = self._seen[-1]
        t_before_ns, before = self._before(t_ns)
        age_s = (t_state_ns - t_ns) / NS_PER_S
        return Remembered(
            latent, before, min(max(age_s, 0.0), self._age_max_s), (t_ns - t_before_ns) / NS_PER_S
        )

    def _before(self, t_ns: int) -> tuple[int, Array]:
        for t_before_ns, latent in reversed(self._seen):
            if t_ns - t_before_ns >= self._gap_ns:
                return t_before_ns, latent
        return self._seen[0]
