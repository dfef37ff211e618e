"""What the connected robot says of its own limits, as a box that motion can be planned in.

An FR3's joints may move the slower the closer they are to an end: the robot's description gives a
velocity cap, a deceleration d and an offset o, and allows |v| ≤ min(cap, √(2·d·distance) − o) (see
"Limits for Franka Research 3" in the vendor's documentation). Planning knows one velocity a joint.
So the range is narrowed to where a share of the cap is allowed whenever a motion that brakes before
the end of the narrowed range can have it.
"""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace

import numpy as np
from tandem.runtime.errors import DeviceError
from tandem.runtime.interfaces import ArmSpec, Array

_SAMPLES = 400
_SPEED_SHARE = 0.5  # of the cap
_REFINED_RAD = 1e-3


@dataclass(frozen=True)
class RobotLimits:
    """Rows are [D]: rad, rad/s, rad/s²; offsets and decelerations are zero where none are told."""

    q_min: Array
    q_max: Array
    dq_max: Array
    offset: Array
    deceleration: Array


def parse(urdf: str, joints: int) -> RobotLimits:
    """The limits of the first `joints` revolute joints.

    Raises:
        DeviceError: the text is no robot description, or misses a limit.
    """
    try:
        root = ElementTree.fromstring(urdf)
    except ElementTree.ParseError as error:
        raise DeviceError(
            f"the robot's description of itself cannot be read ({error}); update its system"
        ) from error
    moving = [joint for joint in root.iter("joint") if joint.get("type") == "revolute"]
    if len(moving) < joints:
        raise DeviceError(f"the robot describes {len(moving)} joints, {joints} were expected")
    rows = [_limits(joint) for joint in moving[:joints]]
    return RobotLimits(*np.array(rows).T)


def _limits(joint: ElementTree.Element) -> tuple[float, ...]:
    limit, slope = joint.find("limit"), joint.find("position_based_velocity_limits")
    try:
        assert limit is not None
        own = [float(limit.attrib[key]) for key in ("lower", "upper", "velocity")]
        keys = ("velocity_offset", "deceleration_limit")
        return (*own, *([0.0, 0.0] if slope is None else [float(slope.attrib[k]) for k in keys]))
    except (AssertionError, KeyError, ValueError) as error:
        raise DeviceError(
            f"the robot's description gives no usable limits for {joint.get('name')}"
        ) from error


def inside(spec: ArmSpec, limits: RobotLimits) -> ArmSpec:
    """`spec` with the robot's own range and velocities, narrowed as said above."""
    dq_max, margin = limits.dq_max.copy(), np.zeros(len(limits.dq_max))
    for i in np.flatnonzero(limits.deceleration > 0):
        dq_max[i] *= _SPEED_SHARE
        margin[i] = _margin(dq_max[i], spec.ddq_max[i], limits.offset[i], limits.deceleration[i])
    q_min, q_max = limits.q_min + margin, limits.q_max - margin
    if (q_min >= q_max).any():
        raise DeviceError("the robot's velocity limits leave no range to move in at this speed")
    return replace(spec, q_min=q_min, q_max=q_max, dq_max=dq_max)


def _margin(dq: float, ddq: float, offset: float, deceleration: float) -> float:
    """The smallest rad so that braking at `ddq` before the narrowed end stays under the curve."""
    to_end = np.linspace(0.0, dq * dq / (2 * ddq), _SAMPLES)
    wanted = np.sqrt(2 * ddq * to_end)
    # √(2·d·(to_end + margin)) − o ≥ wanted, solved for the margin.
    needed = (wanted + offset) ** 2 / (2 * deceleration) - to_end
    return float(needed.max()) + _REFINED_RAD
