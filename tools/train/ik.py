"""Batched kinematics of an arm from its limits file, for the scripted expert.

Every function takes any number of leading dimensions, so that one step of the robot and the
labelling of a hundred thousand recorded states are the same code.
"""

import numpy as np
from tandem.runtime import arm_file, config
from tandem.runtime.arm_file import ArmModel

Array = np.ndarray
# Fingers straight down, finger axis along the base's y: columns are the tool's x, y, z in the base.
DOWN = np.diag([1.0, -1.0, -1.0])


def load_arm() -> ArmModel:
    """The Panda, from its limits file."""
    return arm_file.load(config.PACKAGED / "limits" / "panda.yaml")


def _frames(arm: ArmModel, q: Array) -> tuple[Array, Array, Array, Array]:
    """Joint origins [..., D, 3], joint axes [..., D, 3], tool position [..., 3], tool rotation
    [..., 3, 3].
    """
    batch = q.shape[:-1]
    rotation = np.broadcast_to(np.eye(3), (*batch, 3, 3))
    position = np.zeros((*batch, 3))
    origins = np.empty((*batch, len(arm.home_q), 3))
    axes = np.empty((*batch, len(arm.home_q), 3))
    for i, (a, d, alpha, offset) in enumerate(arm.spec.mdh):
        ca, sa = np.cos(alpha), np.sin(alpha)
        cq, sq = np.cos(q[..., i] + offset), np.sin(q[..., i] + offset)
        x, y, z = rotation[..., 0], rotation[..., 1], rotation[..., 2]
        y, z = ca * y + sa * z, -sa * y + ca * z  # turn about x by alpha
        position = position + a * x + d * z
        x, y = cq[..., None] * x + sq[..., None] * y, -sq[..., None] * x + cq[..., None] * y
        rotation = np.stack([x, y, z], axis=-1)
        origins[..., i, :] = position
        axes[..., i, :] = z
    tool = position + rotation @ arm.spec.pose_tool_in_flange[:3, 3]
    return origins, axes, tool, rotation @ arm.spec.pose_tool_in_flange[:3, :3]


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
    homeward = pull * (arm.home_q - q)
    free = homeward - (inverse @ (jacobian @ homeward[..., None]))[..., 0]
    return (inverse @ twist[..., None])[..., 0] + free


def solve_down(arm: ArmModel, position: Array, seed: Array, iterations: int = 60) -> Array:
    """Joints [..., D] with the tool pointing down at `position` [..., 3]; the residual is for the
    caller to check.
    """
    q = np.broadcast_to(seed, (*position.shape[:-1], len(arm.home_q))).copy()
    for _ in range(iterations):
        tool, rotation, jacobian = tool_jacobian(arm, q)
        twist = np.concatenate([position - tool, down_error(rotation)], axis=-1)
        step = joint_velocity(arm, q, jacobian, twist, pull=0.1)
        q = np.clip(q + np.clip(step, -0.2, 0.2), arm.spec.q_min + 0.05, arm.spec.q_max - 0.05)
    return q
