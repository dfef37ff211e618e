"""From where the tool should go to the next joint command, within what the executor lets through.

Batched like the kinematics: every array has the same leading dimension [B].
"""

from functools import cached_property

import numpy as np
from tandem.tools.train import ik

Array = np.ndarray
STEP_S = 0.05
SPEED_M_S = 0.30
SPEED_Z_M_S = 0.26
ACCELERATION_M_S2 = 1.2
JOINT_ACCELERATION_RAD_S2 = 3.2  # under half of the Panda's slowest joint
GAIN_1_S = 4.0  # speed per distance near the target
TURN_GAIN_1_S = 3.0
TURN_RAD_S = 0.6
FUNNEL_INNER_M, FUNNEL_SLOPE, FUNNEL_HEIGHT_M = 0.012, 3.5, 0.10
_JOINT_MARGIN_RAD = 0.05


class Reach:
    """One step of STEP_S, from commanded joints `q`, `dq` [B, D]; the tool points down."""

    def __init__(self, arm: ik.ArmModel, q: Array, dq: Array) -> None:
        self.arm, self.q, self.dq = arm, q, dq

    @cached_property
    def _tool(self) -> tuple[Array, Array, Array]:
        return ik.tool_jacobian(self.arm, self.q)

    @property
    def tool(self) -> Array:
        """[B, 3] m where the tool is commanded to be."""
        return self._tool[0]

    def follow(self, wanted_m_s: Array) -> tuple[Array, Array]:
        """q, dq [B, D] one step later, with the tool velocity [B, 3] as near to `wanted` as the
        accelerations of tool and joints allow.
        """
        _, rotation, jacobian = self._tool
        now = (jacobian[:, :3] @ self.dq[..., None])[..., 0]
        linear = now + shorten(wanted_m_s - now, ACCELERATION_M_S2 * STEP_S)
        turn = shorten(TURN_GAIN_1_S * ik.down_error(rotation), TURN_RAD_S)
        twist = np.concatenate([linear, turn], axis=-1)
        return self.bend(ik.joint_velocity(self.arm, self.q, jacobian, twist))

    def bend(self, wanted_rad_s: Array) -> tuple[Array, Array]:
        """q, dq [B, D] one step later, with the joint velocity [B, D] as near to `wanted` as the
        joints' acceleration allows.
        """
        change = wanted_rad_s - self.dq
        largest = np.abs(change).max(axis=-1, keepdims=True)
        allowed = JOINT_ACCELERATION_RAD_S2 * STEP_S
        dq = self.dq + change * np.minimum(1.0, allowed / np.maximum(largest, 1e-9))
        q = self.q + 0.5 * STEP_S * (self.dq + dq)
        spec = self.arm.spec
        return np.clip(q, spec.q_min + _JOINT_MARGIN_RAD, spec.q_max - _JOINT_MARGIN_RAD), dq


def funnel(distance: Array, highest_m: float = FUNNEL_HEIGHT_M) -> Array:
    """Height [B] over the goal at a sideways distance: straight down only when right above it."""
    return np.clip((distance - FUNNEL_INNER_M) * FUNNEL_SLOPE, 0.0, highest_m)


def rise_first(tool_z: Array, wanted_z: Array) -> Array:
    """Share [B] of the sideways speed: nothing while the tool is well below where it should fly."""
    return np.clip(1.0 - (wanted_z - tool_z - 0.015) / 0.03, 0.0, 1.0)


def velocity_towards(offset: Array, gate: Array) -> Array:
    """Tool velocity [B, 3]: bounded speed, slowing in time to stop, sideways share `gate` [B]."""
    away = np.linalg.norm(offset[:, :2], axis=-1)
    sideways = offset[:, :2] * (gate * _speed(away, SPEED_M_S) / np.maximum(away, 1e-9))[:, None]
    upwards = np.sign(offset[:, 2]) * _speed(np.abs(offset[:, 2]), SPEED_Z_M_S)
    return shorten(np.concatenate([sideways, upwards[:, None]], axis=-1), SPEED_M_S)


def shorten(vector: Array, length: float) -> Array:
    norm = np.linalg.norm(vector, axis=-1, keepdims=True)
    return vector * np.minimum(1.0, length / np.maximum(norm, 1e-9))


def _speed(distance: Array, top: float) -> Array:
    braking = np.sqrt(1.2 * ACCELERATION_M_S2 * distance)  # 0.6 of the acceleration at hand
    return np.minimum(np.minimum(top, GAIN_1_S * distance), braking)
