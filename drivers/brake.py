"""How the arm brakes by itself: each joint to rest as soon as it can.

The very path of Ruckig's velocity interface without synchronisation (a test compares them), in
closed form, because the last thing between a moving arm and nothing must not be able to fail.
Braking anew from any point of the path stays on it, so a client can compute where the arm will be.
"""

import numpy as np

Path = tuple[np.ndarray, np.ndarray, np.ndarray]  # q [D] rad, dq rad/s, ddq rad/s²


class Brake:
    """Each joint comes to rest as soon as it can, in four phases of constant jerk.

    Into the acceleration limit if outside, to the peak deceleration, hold it, and back to zero.
    """

    def __init__(
        self,
        q: np.ndarray,
        dq: np.ndarray,
        ddq: np.ndarray,
        ddq_max: np.ndarray,
        jerk_max: np.ndarray,
    ) -> None:
        t_inside = np.maximum(np.abs(ddq) - ddq_max, 0.0) / jerk_max
        jerk_inside = -np.sign(ddq) * jerk_max
        a = np.clip(ddq, -ddq_max, ddq_max)
        v = dq + ddq * t_inside + 0.5 * jerk_inside * t_inside**2
        # The velocity that is left if the acceleration is only taken to zero decides the direction.
        left = v + a * np.abs(a) / (2 * jerk_max)
        sign = np.where(left > 0, -1.0, 1.0)
        v, a = sign * v, sign * a  # now the peak is never negative
        peak = np.sqrt(np.maximum(0.5 * a**2 - jerk_max * v, 0.0))
        peak = np.clip(peak, np.maximum(a, 0.0), ddq_max)
        t_hold = np.maximum(-v - (2 * peak**2 - a**2) / (2 * jerk_max), 0.0)
        t_hold = np.divide(t_hold, peak, out=np.zeros_like(peak), where=peak > 0)
        self._start = (np.array(q, float), np.array(dq, float), np.array(ddq, float))
        # [4, D] seconds, and the jerk in each.
        self._phases_s = np.stack([t_inside, (peak - a) / jerk_max, t_hold, peak / jerk_max])
        jerk = sign * jerk_max
        self._jerks = np.stack([jerk_inside, jerk, np.zeros_like(a), -jerk])
        self.duration_s = float(self._phases_s.sum(axis=0).max())
        self._end = _standing(self._path(self.duration_s)[0])

    def at(self, t_s: float) -> Path:
        """(q, dq, ddq) [D] `t_s` after the start; at rest for good after `duration_s`."""
        return self._end if t_s >= self.duration_s else self._path(t_s)

    def _path(self, t_s: float) -> Path:
        q, dq, ddq = self._start
        left_s = np.full(len(q), t_s)
        for phase_s, jerk in zip(self._phases_s, self._jerks, strict=True):
            dt = np.minimum(left_s, phase_s)
            left_s = left_s - dt
            q = q + dt * (dq + dt * (ddq / 2 + dt * jerk / 6))
            dq = dq + dt * (ddq + dt * jerk / 2)
            ddq = ddq + dt * jerk
        return q, dq, ddq


def _standing(q: list[float] | np.ndarray) -> Path:
    """Rounding leaves 1e-16 of speed; what stands, stands."""
    q = np.array(q, dtype=float)
    return q, np.zeros(len(q)), np.zeros(len(q))
