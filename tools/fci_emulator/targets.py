"""The robot's own way from target to target, for clients that do not keep up with its beat.

A target is a position at rest; the arm goes there at once, within a velocity that the client gives
and a share of what the arm can do, and stays until another one comes. Silence is no error then.
"""

import numpy as np
import ruckig
from tandem.tools.fci_emulator.models import DOF, Model

_TICK_S = 0.001
_VELOCITY, _ACCELERATION, _JERK = 0.9, 0.5, 0.2  # shares of the arm's own
_FLOOR_RAD_S = 0.01


class Targets:
    """`aim` whenever one comes, `next` every millisecond. Vectors are [7] rad, rad/s."""

    def __init__(self, model: Model, q: np.ndarray, dq_max: np.ndarray) -> None:
        self._model, self._dq_max = model, np.asarray(dq_max, float)
        self._generator = ruckig.Ruckig(DOF, _TICK_S)
        self._way, self._step = ruckig.InputParameter(DOF), ruckig.OutputParameter(DOF)
        self._way.synchronization = ruckig.Synchronization.No
        self._way.current_position = self._way.target_position = q.tolist()
        self._way.max_acceleration = (_ACCELERATION * model.ddq_max).tolist()
        self._way.max_jerk = (_JERK * model.jerk_max).tolist()
        self._limit(q)

    def aim(self, q: np.ndarray) -> bool:
        """False: the arm cannot go there."""
        if (
            not np.isfinite(q).all()
            or (q < self._model.q_min).any()
            or (q > self._model.q_max).any()
        ):
            return False
        self._way.target_position = q.tolist()
        self._limit(q)
        return True

    def next(self) -> np.ndarray:
        result = self._generator.update(self._way, self._step)
        if result not in (ruckig.Result.Working, ruckig.Result.Finished):
            return np.array(self._way.current_position)
        self._step.pass_to_input(self._way)
        return np.array(self._step.new_position)

    def _limit(self, target: np.ndarray) -> None:
        """What the arm allows here and there; in between it allows no less."""
        fastest = self._dq_max
        for q in (np.array(self._way.current_position), target):
            low, high = self._model.dq_range(q)
            fastest = np.minimum(fastest, _VELOCITY * np.minimum(-low, high))
        self._way.max_velocity = np.maximum(fastest, _FLOOR_RAD_S).tolist()
