"""What an arm is, read from its file under configs/limits: names, limits, kinematics, home."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from tandem.runtime import strict_yaml
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import ArmSpec, Array

_MIN_QUATERNION_NORM = 1e-6


class Tool(strict_yaml.Section, frozen=True, kw_only=True):
    position_m: tuple[float, float, float]
    quaternion_xyzw: tuple[float, float, float, float]


class ArmFile(strict_yaml.Section, frozen=True, kw_only=True):
    name: str
    joint_names: Annotated[list[str], msgspec.Meta(min_length=1)]
    q_min_rad: list[float]
    q_max_rad: list[float]
    dq_max_rad_s: list[float]
    ddq_max_rad_s2: list[float]
    jerk_max_rad_s3: list[float]
    mdh: tuple[tuple[float, float, float, float], ...] = ()
    tool_in_joint7: Tool | None = None
    tool_in_last_joint: Tool | None = None  # the same, for arms with another number of joints
    gripper_width_max_m: Annotated[float, msgspec.Meta(gt=0)] = 0.08
    home_q_rad: list[float]


@dataclass(frozen=True)
class ArmModel:
    spec: ArmSpec
    home_q: Array  # [D] rad


def load(file: Path, rate_hz: float = 1000.0, paced_by: str = "executor") -> ArmModel:
    """The arm of a limits file, at a plant rate that its driver knows.

    Raises:
        ConfigError: a vector of another length than joint_names, a limit that is not positive,
            or a home outside the limits.
    """
    arm = strict_yaml.convert(strict_yaml.read(file), ArmFile, file)
    _check(arm, file)
    spec = ArmSpec(
        name=arm.name,
        joint_names=tuple(arm.joint_names),
        q_min=np.array(arm.q_min_rad),
        q_max=np.array(arm.q_max_rad),
        dq_max=np.array(arm.dq_max_rad_s),
        ddq_max=np.array(arm.ddq_max_rad_s2),
        jerk_max=np.array(arm.jerk_max_rad_s3),
        rate_hz=rate_hz,
        paced_by="arm" if paced_by == "arm" else "executor",
        mdh=np.array(arm.mdh).reshape(-1, 4),
        pose_tool_in_flange=_pose(arm.tool_in_last_joint or arm.tool_in_joint7),
        width_max_m=arm.gripper_width_max_m,
    )
    return ArmModel(spec, np.array(arm.home_q_rad))


def _check(arm: ArmFile, file: Path) -> None:
    joints = len(arm.joint_names)
    positive = ("dq_max_rad_s", "ddq_max_rad_s2", "jerk_max_rad_s3")
    for key in ("q_min_rad", "q_max_rad", "home_q_rad", *positive):
        values = getattr(arm, key)
        if len(values) != joints:
            raise ConfigError(f"{file}: {key} has {len(values)} values for {joints} joint_names")
        if key in positive and min(values) <= 0:
            raise ConfigError(f"{file}: {key} must be positive for every joint")
    for name, low, home, high in zip(
        arm.joint_names, arm.q_min_rad, arm.home_q_rad, arm.q_max_rad, strict=True
    ):
        if not low < home < high:
            raise ConfigError(f"{file}: {name}: home {home} rad is not inside {low} … {high} rad")
    if arm.mdh and len(arm.mdh) != joints:
        raise ConfigError(f"{file}: mdh has {len(arm.mdh)} rows for {joints} joint_names")


def _pose(tool: Tool | None) -> Array:
    """[4, 4] of a position and a quaternion."""
    pose = np.eye(4)
    if tool is None:
        return pose
    x, y, z, w = np.array(tool.quaternion_xyzw) / max(
        float(np.linalg.norm(tool.quaternion_xyzw)), _MIN_QUATERNION_NORM
    )
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = tool.position_m
    return pose
