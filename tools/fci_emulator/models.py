"""The arms that can be emulated: limits as the vendor publishes them, and the FR3's own URDF.

The judge reads nothing else. A driver under test must never import this: it asks the robot.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from tandem.tools.fci_emulator.dialect import V5, V10, Dialect

DOF = 7


def _row(*values: float) -> np.ndarray:
    return np.array(values if len(values) == DOF else values * DOF, dtype=float)


@dataclass(frozen=True)
class Model:
    """Rows are [7]: rad, rad/s, rad/s², rad/s³, Nm, Nm/s."""

    name: str
    dialect: Dialect
    q_min: np.ndarray
    q_max: np.ndarray
    dq_max: np.ndarray
    ddq_max: np.ndarray
    jerk_max: np.ndarray
    tau_max: np.ndarray = field(default_factory=lambda: _row(87, 87, 87, 87, 12, 12, 12))
    tau_rate_max: np.ndarray = field(default_factory=lambda: _row(1000))
    # Only where velocity is limited by position as well (FR3): rad/s, and rad/s².
    slack: np.ndarray | None = None
    deceleration: np.ndarray | None = None

    def narrowed(self, rad: float) -> "Model":
        """The same arm with less range at both ends of every joint."""
        return replace(self, q_min=self.q_min + rad, q_max=self.q_max - rad)

    def dq_range(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest allowed velocity [7] rad/s at `q`."""
        if self.slack is None or self.deceleration is None:
            return -self.dq_max, self.dq_max
        up = np.sqrt(np.maximum(2 * self.deceleration * (self.q_max - q), 0)) - self.slack
        down = np.sqrt(np.maximum(2 * self.deceleration * (q - self.q_min), 0)) - self.slack
        return -np.clip(down, 0, self.dq_max), np.clip(up, 0, self.dq_max)


FR3 = Model(
    name="fr3",
    dialect=V10,
    q_min=_row(-2.9007, -1.8361, -2.9007, -3.0770, -2.8763, 0.4398, -3.0508),
    q_max=_row(2.9007, 1.8361, 2.9007, -0.1169, 2.8763, 4.6216, 3.0508),
    dq_max=_row(2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26),
    ddq_max=_row(10.0),
    jerk_max=_row(5000.0),
    slack=_row(0.652, 0.25, 0.2005, 0.3542, 0.5738, 0.4885, 0.4592),
    deceleration=_row(6.0, 2.585, 3.5, 4.0, 17.0, 5.5, 17.0),
)
FER = Model(
    name="fer",
    dialect=V5,
    q_min=_row(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
    q_max=_row(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
    dq_max=_row(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
    ddq_max=_row(15, 7.5, 10, 12.5, 15, 20, 20),
    jerk_max=_row(7500, 3750, 5000, 6250, 7500, 10000, 10000),
)
MODELS = {"fr3": FR3, "fer": FER}
START_Q = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])

# Both arms have the same kinematics. Where each joint sits in the link before: xyz m, rpy rad.
_ORIGINS = (
    ("0 0 0.333", "0 0 0"),
    ("0 0 0", "-1.5707963 0 0"),
    ("0 -0.316 0", "1.5707963 0 0"),
    ("0.0825 0 0", "1.5707963 0 0"),
    ("-0.0825 0.384 0", "-1.5707963 0 0"),
    ("0 0 0", "1.5707963 0 0"),
    ("0.088 0 0", "1.5707963 0 0"),
)
_INERTIAL = (
    '<inertial><origin xyz="0 0 0" rpy="0 0 0"/><mass value="2.0"/>'
    '<inertia ixx="0.02" iyy="0.02" izz="0.02" ixy="0" ixz="0" iyz="0"/></inertial>'
)


def urdf(model: Model) -> str:
    """What the arm answers when it is asked for its model: joints, limits, plain inertias.

    The links' names are the robot's own: libfranka's `loadModel` looks for `link8`, and reads past
    the end of its frames where there is none.
    """
    links = "".join(f'<link name="link{i}">{_INERTIAL}</link>' for i in range(DOF + 1))
    joints = "".join(_joint(model, i) for i in range(DOF))
    flange = (
        '<link name="link8"/><joint name="joint8" type="fixed">'
        '<origin xyz="0 0 0.107" rpy="0 0 0"/><parent link="link7"/>'
        '<child link="link8"/></joint>'
    )
    return f'<?xml version="1.0"?><robot name="{model.name}">{links}{joints}{flange}</robot>'


def _joint(model: Model, i: int) -> str:
    xyz, rpy = _ORIGINS[i]
    by_position = ""
    if model.slack is not None and model.deceleration is not None:
        by_position = (
            f'<position_based_velocity_limits deceleration_limit="{model.deceleration[i]}" '
            f'velocity_offset="{model.slack[i]}"/>'
        )
    return (
        f'<joint name="joint{i + 1}" type="revolute">'
        f'<origin xyz="{xyz}" rpy="{rpy}"/><parent link="link{i}"/>'
        f'<child link="link{i + 1}"/><axis xyz="0 0 1"/>'
        f'<limit lower="{model.q_min[i]}" upper="{model.q_max[i]}" effort="{model.tau_max[i]}" '
        f'velocity="{model.dq_max[i]}"/>{by_position}</joint>'
    )
