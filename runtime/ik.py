"""Inverse kinematics: damped least squares from where the arm was, inside its joint range.

Seeded with the joints of the step before, it finds the solution next to them, so a path of the tool
becomes a path of the joints without a change of elbow. The damping follows the error (Levenberg and
Marquardt), so the last steps converge quadratically and a singularity costs steps, not speed. A
joint at its limit leaves the system until it wants back in.

An arm with fewer than six joints cannot turn its tool as it likes. There both are met as nearly as
possible first, and then the position exactly, by the smallest correction of the joints.
"""

from math import degrees

import numpy as np
from tandem.runtime.errors import UnreachableError
from tandem.runtime.interfaces import ArmSpec, Array
from tandem.runtime.kinematics import Chain
from tandem.runtime.rotations import to_rotvec

_DAMPING_START = 1e-4
_DAMPING_LEAST, _DAMPING_MOST = 1e-12, 1e4
_STEP_MAX_RAD = 0.5
_STEP_LEAST_RAD = 1e-10
_ROAMING_DAMPING, _ROAMING_STEP_RAD, _PULL = 1e-3, 0.2, 0.1
_BOUND_RAD = 1e-12  # nearer to a limit is on it
_FULL = 6  # joints that a pose needs
_POSITION = np.array((1.0, 1.0, 1.0, 0.0, 0.0, 0.0))
_BALANCED = np.array((1.0, 1.0, 1.0, 0.1, 0.1, 0.1))  # 0.1 m of position weigh as much as 1 rad


class InverseKinematics:
    """For one arm; not for two threads at once, its memory is used again."""

    def __init__(
        self,
        spec: ArmSpec,
        margin_rad: float = 0.0,
        tolerance: float = 1e-9,
        iterations: int = 100,
    ) -> None:
        """`tolerance`: m and rad at which a pose counts as met; `margin_rad` is kept to the limits.

        Raises:
            ValueError: the arm's file has no kinematics (no mdh rows).
        """
        self._chain = Chain(spec.mdh, spec.pose_tool_in_flange)
        self._names = spec.joint_names
        self._low, self._high = spec.q_min + margin_rad, spec.q_max - margin_rad
        self._tolerance, self._iterations = tolerance, iterations
        # Which rows of the error must vanish; the others as far as that leaves room.
        self._exact = np.ones(6) if len(spec.joint_names) >= _FULL else _POSITION

    def pose(self, q: Array) -> Array:
        """[4, 4] pose_tool_in_base at `q` [D] rad."""
        return self._chain.update(q).pose.copy()

    def solve(self, pose_tool_in_base: Array, q_seed: Array) -> Array:
        """[D] rad near `q_seed` with the tool at the pose [4, 4].

        Raises:
            UnreachableError: no such joints; how much is missing, which joints are at their limits.
        """
        target = pose_tool_in_base
        q = np.minimum(np.maximum(q_seed, self._low), self._high)
        if len(q) < _FULL:
            q, _ = self._downhill(q, target, _BALANCED)
        ends = []
        for descend in (self._downhill, self._around):
            found, error = descend(q, target, self._exact)
            if float(abs(error * self._exact).max()) <= self._tolerance:
                return found
            ends.append((found, error))
        found, error = min(ends, key=lambda end: float(abs(end[1] * self._exact).max()))
        raise self._unreachable(found, error, target)

    def _downhill(self, q: Array, target: Array, weights: Array) -> tuple[Array, Array]:
        """Joints and the error left, every step of which came nearer."""
        error, jacobian = self._look(q, target)
        damping = _DAMPING_START
        for _ in range(self._iterations):
            if float(abs(error * weights).max()) <= self._tolerance:
                break
            step = self._step(q, jacobian, error, weights, damping)
            trial = np.minimum(np.maximum(q + step, self._low), self._high)
            trial_error, trial_jacobian = self._look(trial, target)
            if _square(trial_error * weights) < _square(error * weights):
                q, error, jacobian = trial, trial_error, trial_jacobian
                damping = max(damping / 10, _DAMPING_LEAST)
            else:
                damping *= 10
            if damping > _DAMPING_MOST or float(abs(step).max()) < _STEP_LEAST_RAD:
                break
        return q, error

    def _around(self, q: Array, target: Array, weights: Array) -> tuple[Array, Array]:
        """The same where downhill ends in a dead end: steps may lead away, and joints that the tool
        does not feel are drawn from their limits to the middle of their range."""
        error, jacobian = self._look(q, target)
        middle = (self._low + self._high) / 2
        for _ in range(self._iterations):
            if float(abs(error * weights).max()) <= self._tolerance:
                break
            left = _square(error * weights)
            step = self._step(q, jacobian, error, weights, _ROAMING_DAMPING * left)
            felt = jacobian * weights[:, None]
            pull = min(_PULL, left**0.5) * (middle - q)
            step = step + pull - _pseudo_inverse(felt, _ROAMING_DAMPING) @ (felt @ pull)
            step *= min(1.0, _ROAMING_STEP_RAD / max(float(abs(step).max()), _BOUND_RAD))
            q = np.minimum(np.maximum(q + step, self._low), self._high)
            error, jacobian = self._look(q, target)
        return q, error

    def _look(self, q: Array, target: Array) -> tuple[Array, Array]:
        """The error [6], m and rad in base axes, and the Jacobian [6, D] at `q`."""
        chain = self._chain.update(q)
        error = np.empty(6)
        error[:3] = target[:3, 3] - chain.pose[:3, 3]
        error[3:] = to_rotvec(target[:3, :3] @ chain.pose[:3, :3].T)
        return error, chain.jacobian.copy()

    def _step(
        self, q: Array, jacobian: Array, error: Array, weights: Array, damping: float
    ) -> Array:
        """The next step [D] rad; joints that would leave their range have no part in it."""
        free = np.ones(len(q), bool)
        for _ in range(len(q)):
            felt = jacobian * weights[:, None] * free
            step: Array = _pseudo_inverse(felt, damping) @ (error * weights)
            outward = ((q <= self._low + _BOUND_RAD) & (step < 0)) | (
                (q >= self._high - _BOUND_RAD) & (step > 0)
            )
            if not (outward & free).any():
                break
            free &= ~outward
        largest = float(abs(step).max())
        return step * (_STEP_MAX_RAD / largest) if largest > _STEP_MAX_RAD else step

    def _unreachable(self, q: Array, error: Array, target: Array) -> UnreachableError:
        x, y, z = target[:3, 3]
        short_mm = float(np.linalg.norm(error[:3])) * 1e3
        off = degrees(float(np.linalg.norm(error[3:])))
        turned = f" and {off:.1f}° turned" if self._exact is not _POSITION else ""
        at_limit = (q <= self._low + 1e-6) | (q >= self._high - 1e-6)
        stuck = ", ".join(n for n, at in zip(self._names, at_limit, strict=True) if at)
        why = f"{stuck} at the limit" if stuck else "out of reach or singular"
        return UnreachableError(
            f"the tool cannot be at ({x:.3f}, {y:.3f}, {z:.3f}) m as asked: the nearest is "
            f"{short_mm:.1f} mm away{turned} ({why}). Is the policy's frame, tool or unit another "
            "one than its action space says? Else bring the arm nearer to its home first"
        )


def _square(vector: Array) -> float:
    return float(vector @ vector)


def _pseudo_inverse(matrix: Array, damping: float) -> Array:
    """[D, m] of [m, D]: Jᵀ(JJᵀ + damping)⁻¹."""
    square = matrix @ matrix.T
    # Rows of weight zero leave a row of zeros, which must not make the whole singular.
    square.flat[:: len(square) + 1] += max(damping, _DAMPING_LEAST)
    back: Array = np.linalg.solve(square, matrix).T
    return back
