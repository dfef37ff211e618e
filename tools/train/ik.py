"""Batched kinematics of an arm from its limits file, for the scripted expert.

Every function takes any number of leading dimensions, so that one step of the robot and the
labelling of a hundred thousand recorded states are the same code.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tandem.configs
import yaml

Array = np.ndarray
# Fingers straight down, finger axis along the base's y: columns are the tool's x, y, z in the base.
DOWN = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class ArmModel:
    """Constants of an arm. `mdh` rows are (a_m, d_m, alpha_rad, theta_offset_rad), Craig's
    convention.
    """

    mdh: Array  # [D, 4]
    tool_in_last: Array  # [4, 4]
    q_min: Array  # [D] rad
    q_max: Array  # [D] rad
    home: Array  # [D] rad

    @property
    def dimensions(self) -> int:
        return len(self.mdh)


def load_arm(path: Path | None = None) -> ArmModel:
    """Read a limits file; by default the Panda's."""
    path = path or Path(tandem.configs.__path__[0]) / "limits" / "panda.yaml"
    data = yaml.safe_load(path.read_text())
    tool = data["tool_in_joint7"]
    pose = np.eye(4)
    pose[:3, :3] = _rotation_of(np.array(tool["quaternion_xyzw"]))
    pose[:3, 3] = tool["position_m"]
    return ArmModel(
        mdh=np.array(data["mdh"], dtype=float),
        tool_in_last=pose,
        q_min=np.array(data["q_min_rad"], dtype=float),
        q_max=np.array(data["q_max_rad"], dtype=float),
        home=np.array(data["home_q_rad"], dtype=float),
    )


def _rotation_of(xyzw: Array) -> Array:
    x, y, z, w = xyzw / np.linalg.norm(xyzw)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _frames(arm: ArmModel, q: Array) -> tuple[Array, Array, Array, Array]:
    """Joint origins [..., D, 3], joint axes [..., D, 3], tool position [..., 3], tool rotation
    [..., 3, 3].
    """
    batch = q.shape[:-1]
    rotation = np.broadcast_to(np.eye(3), (*batch, 3, 3))
    position = np.zeros((*batch, 3))
    origins = np.empty((*batch, arm.dimensions, 3))
    axes = np.empty((*batch, arm.dimensions, 3))
    for i, (a, d, alpha, offset) in enumerate(arm.mdh):
        ca, sa = np.cos(alpha), np.sin(alpha)
        cq, sq = np.cos(q[..., i] + offset), np.sin(q[..., i] + offset)
        x, y, z = rotation[..., 0], rotation[..., 1], rotation[..., 2]
        y, z = ca * y + sa * z, -sa * y + ca * z  # turn about x by alpha
        position = position + a * x + d * z
        x, y = cq[..., None] * x + sq[..., None] * y, -sq[..., None] * x + cq[..., None] * y
        rotation = np.stack([x, y, z], axis=-1)
        origins[..., i, :] = position
        axes[..., i, :] = z
    tool = position + rotation @ arm.tool_in_last[:3, 3]
    return origins, axes, tool, rotation @ arm.tool_in_last[:3, :3]


def tool_pose(arm: ArmModel, q: Array) -> tuple[Array, Array]:
    """Tool position [..., 3] in m and rotation [..., 3, 3] in the base frame for q [..., D]."""
    _, _, position, rotation = _frames(arm, q)
    return position, rotation


def tool_jacobian(arm: ArmModel, q: Array) -> tuple[Array, Array, Array]:
    """Tool position, rotation and geometric Jacobian [..., 6, D] (linear rows first)."""
    origins, axes, tool, rotation = _frames(arm, q)
    linear = np.cross(axes, tool[..., None, :] - origins)
    return tool, rotation, np.concatenate([linear, axes], axis=-1).swapaxes(-1, -2)


def down_error(rotation: Array, yaw_rad: float = 0.0) -> Array:
    """Small rotation vector [..., 3] (base frame) that turns the tool to point down at this yaw."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    wanted = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ DOWN
    crosses = np.cross(rotation, wanted, axisa=-2, axisb=-2, axisc=-2)
    return 0.5 * crosses.sum(axis=-1)


def joint_velocity(
    arm: ArmModel, q: Array, jacobian: Array, twist: Array, damping: float = 1e-4, pull: float = 0.5
) -> Array:
    """Joint velocity [..., D] for a tool twist [..., 6]; what the task leaves free is pulled to
    home.

    Damped least squares: dq = Jᵀ(JJᵀ + λI)⁻¹ twist + (I − J⁺J) · pull · (home − q).
    """
    transposed = jacobian.swapaxes(-1, -2)
    gram = jacobian @ transposed + damping * np.eye(6)
    inverse = transposed @ np.linalg.inv(gram)
    homeward = pull * (arm.home - q)
    free = homeward - (inverse @ (jacobian @ homeward[..., None]))[..., 0]
    return (inverse @ twist[..., None])[..., 0] + free


def solve_down(arm: ArmModel, position: Array, seed: Array, iterations: int = 60) -> Array:
    """Joints [..., D] with the tool pointing down at `position` [..., 3]; the residual is for the
    caller to check.
    """
    q = np.broadcast_to(seed, (*position.shape[:-1], arm.dimensions)).copy()
    for _ in range(iterations):
        tool, rotation, jacobian = tool_jacobian(arm, q)
        twist = np.concatenate([position - tool, down_error(rotation)], axis=-1)
        step = joint_velocity(arm, q, jacobian, twist, pull=0.1)
        q = np.clip(q + np.clip(step, -0.2, 0.2), arm.q_min + 0.05, arm.q_max - 0.05)
    return q
