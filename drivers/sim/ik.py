"""Inverse kinematics for the simulated arm: damped least squares, with the elbow drawn to home."""

import mujoco
import numpy as np
from tandem.drivers.sim import panda

_DAMPING = 1e-4
_HOME_PULL = 0.1
_STEP_MAX_RAD = 0.3
_MARGIN_RAD = 0.02


def pointing_down(yaw_rad: float = 0.0) -> np.ndarray:
    """[3, 3] of a tool that looks straight down, turned by `yaw_rad` about the vertical."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, s, 0], [s, -c, 0], [0, 0, -1.0]])


class InverseKinematics:
    """Solves joint angles for a tool pose on data of its own: it never disturbs the physics."""

    def __init__(self, model: mujoco.MjModel) -> None:
        spec = panda.panda_spec()
        self._model, self._data = model, mujoco.MjData(model)
        self._tool = model.site("tool").id
        self._low, self._high = spec.q_min + _MARGIN_RAD, spec.q_max - _MARGIN_RAD
        self._jacobian = np.zeros((6, model.nv))

    def tool_pose(self, q: np.ndarray) -> np.ndarray:
        """[4, 4] pose_tool_in_base at `q` [7]."""
        self._place(q)
        pose = np.eye(4)
        pose[:3, :3] = self._data.site_xmat[self._tool].reshape(3, 3)
        pose[:3, 3] = self._data.site_xpos[self._tool]
        return pose

    def solve(
        self,
        q_start: np.ndarray,
        position_m: np.ndarray,
        rotation: np.ndarray | None = None,
        iterations: int = 4,
    ) -> np.ndarray:
        """[7] joint angles near `q_start` with the tool at the pose (default: pointing down)."""
        rotation = pointing_down() if rotation is None else rotation
        q = np.array(q_start, dtype=float)
        for _ in range(iterations):
            q = np.clip(q + self._step(q, position_m, rotation), self._low, self._high)
        return q

    def _place(self, q: np.ndarray) -> None:
        self._data.qpos[: panda.DOF] = q
        mujoco.mj_kinematics(self._model, self._data)

    def _step(self, q: np.ndarray, position_m: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        self._place(q)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(
            self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._tool
        )
        jacobian = self._jacobian[:, : panda.DOF]
        error = np.empty(6)
        error[:3] = position_m - self._data.site_xpos[self._tool]
        error[3:] = _turn(self._data.site_xmat[self._tool].reshape(3, 3), rotation)
        square = jacobian @ jacobian.T + _DAMPING * np.eye(6)
        pull = _HOME_PULL * (panda.HOME_Q_RAD - q)
        # J⁺(e − J·pull) + pull: reach the pose first, drift home in what is left.
        step = jacobian.T @ np.linalg.solve(square, error - jacobian @ pull) + pull
        bounded: np.ndarray = np.clip(step, -_STEP_MAX_RAD, _STEP_MAX_RAD)
        return bounded


def _turn(now: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[3] small rotation vector from `now` to `wanted` [3, 3]: half the sum of axis crosses."""
    m = wanted @ now.T
    return 0.5 * np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
