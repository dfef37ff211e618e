"""A Franka Emika Panda with its hand, drawn with primitives: no mesh, no asset, true dynamics.

Kinematics are the vendor's; masses, centres of mass and inertias are those identified by Gaz et
al., "Dynamic Identification of the Franka Emika Panda Robot", RA-L 2019. Only the looks are ours.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import yaml
from tandem.runtime.interfaces import ArmSpec

DOF = 7
OPEN_WIDTH_M = 0.08
FINGER_SPEED_M_S = 0.1  # of the opening, as the Franka hand
HOME_Q_RAD = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4])
# The arm's own joint impedance: Franka's default stiffness, damping near critical.
STIFFNESS_NM_RAD = np.array([3000.0, 3000, 3000, 2500, 2500, 2000, 2000])
DAMPING_NMS_RAD = np.array([160.0, 160, 120, 110, 60, 50, 30])
TORQUE_MAX_NM = np.array([87.0, 87, 87, 87, 12, 12, 12])
JOINT_FRICTION_NMS_RAD = 1.0
# One tendon pulls both fingers: its length is half of the opening.
GRIP_STIFFNESS_N_M = 2000.0
GRIP_DAMPING_NS_M = 60.0
GRIP_FORCE_MAX_N = 40.0


@dataclass(frozen=True)
class _Link:
    """One moving link: where its frame sits in its parent's, and what it weighs."""

    position_m: str
    quaternion_wxyz: str
    mass_kg: float
    com_m: str
    inertia: str  # about the centre of mass: xx yy zz xy xz yz
    looks: tuple[str, ...]
    collision: tuple[str, ...]


def _geom(kind: str, place: str, size: str, material: str) -> str:
    return f'<geom class="look" type="{kind}" {place} size="{size}" material="{material}"/>'


def _capsule(start: str, end: str, radius: float, material: str = "shell") -> str:
    return _geom("capsule", f'fromto="{start} {end}"', str(radius), material)


def _cylinder(start: str, end: str, radius: float, material: str = "shell") -> str:
    return _geom("cylinder", f'fromto="{start} {end}"', str(radius), material)


def _ellipsoid(centre: str, radii: str, material: str = "shell") -> str:
    return _geom("ellipsoid", f'pos="{centre}"', radii, material)


def _box(centre: str, half: str, material: str = "shell") -> str:
    return _geom("box", f'pos="{centre}"', half, material)


def _solid(start: str, end: str, radius: float) -> str:
    return f'<geom class="solid" type="capsule" fromto="{start} {end}" size="{radius}"/>'


_BASE_LOOKS = (
    _ellipsoid("-0.055 0 0.045", "0.105 0.082 0.06"),
    _cylinder("0 0 0", "0 0 0.135", 0.072),
    _ellipsoid("0 0 0.135", "0.072 0.072 0.045"),
    _cylinder("-0.04 0 0", "-0.04 0 0.014", 0.102, "joint"),
)
_LINKS = (
    _Link(
        "0 0 0.333",
        "1 0 0 0",
        4.970684,
        "0.003875 0.002081 -0.04762",
        "0.70337 0.70661 0.009117 -0.000139 0.006772 0.019169",
        (
            _cylinder("0 0 -0.195", "0 0 -0.18", 0.066, "joint"),
            _cylinder("0 0 -0.18", "0 0 -0.05", 0.063),
            _capsule("0 0 -0.06", "0 0 0", 0.064),
            _cylinder("0 -0.066 0", "0 0.066 0", 0.062),
        ),
        (_solid("0 0 -0.14", "0 0 0", 0.062),),
    ),
    _Link(
        "0 0 0",
        "0.70710678 -0.70710678 0 0",
        0.646926,
        "-0.003141 -0.02872 0.003495",
        "0.007962 0.02811 0.025995 -0.003925 0.010254 0.000704",
        (
            _cylinder("0 0 -0.078", "0 0 0.078", 0.058),
            _ellipsoid("0 0 0.079", "0.056 0.056 0.019", "joint"),
            _ellipsoid("0 0 -0.079", "0.056 0.056 0.019", "joint"),
            _capsule("0 0 0", "0 -0.11 0", 0.061),
            _cylinder("0 -0.11 0", "0 -0.185 0", 0.059),
        ),
        (_solid("0 0 0", "0 -0.12 0", 0.062),),
    ),
    _Link(
        "0 -0.316 0",
        "0.70710678 0.70710678 0 0",
        3.228604,
        "0.027518 0.039252 -0.066502",
        "0.037242 0.036155 0.01083 -0.004761 -0.011396 -0.012805",
        (
            _cylinder("0 0 -0.131", "0 0 -0.117", 0.061, "joint"),
            _cylinder("0 0 -0.117", "0 0 -0.05", 0.057),
            _capsule("0 0 -0.06", "0.05 0 -0.02", 0.057),
            _cylinder("0.0825 -0.058 0", "0.0825 0.058 0", 0.055),
            _capsule("0.04 0 -0.01", "0.0825 0 0", 0.053),
        ),
        (_solid("0 0 -0.06", "0.0825 0 0", 0.06),),
    ),
    _Link(
        "0.0825 0 0",
        "0.70710678 0.70710678 0 0",
        3.587895,
        "-0.05317 0.104419 0.027454",
        "0.025853 0.019552 0.028323 0.007796 -0.001332 0.008641",
        (
            _cylinder("0 0 -0.072", "0 0 0.072", 0.053),
            _ellipsoid("0 0 0.073", "0.052 0.052 0.018", "joint"),
            _ellipsoid("0 0 -0.073", "0.052 0.052 0.018", "joint"),
            _capsule("0 0 0", "-0.0825 0.07 0", 0.053),
            _capsule("-0.0825 0.07 0", "-0.0825 0.1 0", 0.055),
            _cylinder("-0.0825 0.1 0", "-0.0825 0.135 0", 0.056),
        ),
        (_solid("0 0 0", "-0.0825 0.1 0", 0.058),),
    ),
    _Link(
        "-0.0825 0.384 0",
        "0.70710678 -0.70710678 0 0",
        1.225946,
        "-0.011953 0.041065 -0.038437",
        "0.035549 0.029474 0.008627 -0.002117 -0.004037 0.000229",
        (
            _cylinder("0 0 -0.247", "0 0 -0.234", 0.058, "joint"),
            _capsule("0 0 -0.21", "0 0 -0.17", 0.056),
            _capsule("0 0.02 -0.19", "0 0.075 -0.06", 0.041),
            _capsule("0 0.07 -0.06", "0 0.06 0", 0.039),
            _cylinder("0 -0.045 0", "0 0.075 0", 0.048),
        ),
        (_solid("0 0 -0.2", "0 0.06 -0.04", 0.058),),
    ),
    _Link(
        "0 0 0",
        "0.70710678 0.70710678 0 0",
        1.666555,
        "0.060149 -0.014117 -0.010517",
        "0.001964 0.004354 0.005433 0.000109 -0.001158 0.000341",
        (
            _cylinder("0 0 -0.062", "0 0 0.055", 0.046),
            _ellipsoid("0 0 -0.062", "0.045 0.045 0.018", "joint"),
            _capsule("0 0 0", "0.06 0 0", 0.042),
            _cylinder("0.088 -0.02 0", "0.088 0.062 0", 0.046),
            _ellipsoid("0.088 -0.02 0", "0.046 0.03 0.046"),
        ),
        (_solid("0.02 0 0", "0.088 0 0", 0.05),),
    ),
    _Link(
        "0.088 0 0",
        "0.70710678 0.70710678 0 0",
        0.735522,
        "0.010517 -0.004252 0.061597",
        "0.012516 0.010027 0.004815 -0.000428 -0.001196 -0.000741",
        (
            _cylinder("0 0 0.05", "0 0 0.082", 0.046),
            _cylinder("0 0 0.082", "0 0 0.107", 0.034, "joint"),
            _ellipsoid("0.05 0 0.07", "0.025 0.02 0.014", "joint"),
        ),
        (_solid("0 0 0.04", "0 0 0.08", 0.045),),
    ),
)

DEFAULTS_XML = """
<default class="panda">
  <default class="look"><geom contype="0" conaffinity="0" group="2" mass="0"/></default>
  <default class="solid"><geom group="3" contype="1" conaffinity="2"/></default>
  <default class="pad">
    <geom group="3" contype="1" conaffinity="2" friction="1.5 0.05 0.001" condim="4"
          solimp="0.95 0.99 0.001" solref="0.004 1"/>
  </default>
</default>"""
MATERIALS_XML = """
<material name="shell" rgba=".93 .94 .95 1" specular=".3" shininess=".3"/>
<material name="joint" rgba=".42 .44 .48 1"/>
<material name="rubber" rgba=".12 .12 .13 1"/>"""
COUPLING_XML = """
<tendon>
  <fixed name="grip">
    <joint joint="finger_left" coef="0.5"/><joint joint="finger_right" coef="0.5"/>
  </fixed>
</tendon>
<equality>
  <joint joint1="finger_left" joint2="finger_right" solimp="0.95 0.99 0.001" solref="0.005 1"/>
</equality>"""


def _finger(side: str, quaternion_wxyz: str) -> str:
    looks = (
        _box("0 0.0155 0.012", "0.0095 0.011 0.012"),
        _box("0 0.01 0.036", "0.0085 0.0055 0.0125"),
        _box("0 0.0025 0.0445", "0.0085 0.0025 0.0095", "rubber"),
    )
    return f"""
<body name="finger_{side}" gravcomp="1" pos="0 0 0.0584" quat="{quaternion_wxyz}">
  <inertial mass="0.015" pos="0 0 0" diaginertia="2.375e-6 2.375e-6 7.5e-7"/>
  <joint name="finger_{side}" type="slide" axis="0 1 0" range="0 {OPEN_WIDTH_M / 2}"
         armature="0.1" damping="10"/>
  {"".join(looks)}
  <geom name="pad_{side}" class="pad" type="box" pos="0 0.0045 0.0445"
        size="0.0085 0.0045 0.0092"/>
</body>"""


def _hand() -> str:
    looks = (
        _box("0 0 0.034", "0.021 0.098 0.026"),
        _box("0 0 0.062", "0.017 0.085 0.006", "joint"),
        _cylinder("0 0 0", "0 0 0.012", 0.04, "rubber"),
    )
    return f"""
<body name="hand" gravcomp="1" pos="0 0 0.107" quat="0.92387953 0 0 -0.38268343">
  <inertial mass="0.73" pos="-0.01 0 0.03" diaginertia="0.001 0.0025 0.0017"/>
  {"".join(looks)}
  <geom class="solid" type="box" pos="0 0 0.034" size="0.022 0.1 0.028"/>
  <site name="tool" pos="0 0 0.1034" size="0.004" group="4"/>
  <camera name="wrist" pos="0.075 0 0.02" xyaxes="0 1 0 0.94 0 0.34" fovy="68"/>
  {_finger("left", "1 0 0 0")}{_finger("right", "0 0 0 1")}
</body>"""


def arm_xml() -> str:
    """The body tree, base at the origin of the world."""
    spec = panda_spec()
    tree = _hand()
    for i in reversed(range(DOF)):
        link = _LINKS[i]
        tree = f"""
<body name="link{i + 1}" gravcomp="1" pos="{link.position_m}" quat="{link.quaternion_wxyz}">
  <inertial mass="{link.mass_kg}" pos="{link.com_m}" fullinertia="{link.inertia}"/>
  <joint name="{spec.joint_names[i]}" axis="0 0 1" range="{spec.q_min[i]} {spec.q_max[i]}"
         armature="0.1" damping="{JOINT_FRICTION_NMS_RAD}"/>
  {"".join(link.looks)}{"".join(link.collision)}{tree}
</body>"""
    base_solid = _solid("-0.06 0 0.06", "-0.02 0 0.06", 0.075)
    return f'<body name="link0" childclass="panda">{"".join(_BASE_LOOKS)}{base_solid}{tree}</body>'


def actuators_xml() -> str:
    """Joint impedances whose input is an angle, and the grip whose input is half the opening.

    Affine actuators rather than plain torques: the implicit integrator knows their damping, and the
    step stays stable.
    """
    names = panda_spec().joint_names
    lines = [
        _impedance(f'joint="{names[i]}"', *row)
        for i, row in enumerate(zip(STIFFNESS_NM_RAD, DAMPING_NMS_RAD, TORQUE_MAX_NM, strict=True))
    ]
    grip = _impedance('tendon="grip"', GRIP_STIFFNESS_N_M, GRIP_DAMPING_NS_M, GRIP_FORCE_MAX_N)
    return f"<actuator>{''.join(lines)}{grip}</actuator>"


def _impedance(target: str, stiffness: float, damping: float, force_max: float) -> str:
    return (
        f'<general {target} gainprm="{stiffness}" biastype="affine" '
        f'biasprm="0 {-stiffness} {-damping}" forcerange="{-force_max} {force_max}"/>'
    )


@cache
def panda_spec() -> ArmSpec:
    """What this arm is, from the shipped limits file: the limits are the arm's own, unscaled."""
    text = resources.files("tandem.configs").joinpath("limits/panda.yaml").read_text()
    raw = yaml.safe_load(text)
    tool = np.eye(4)
    tool[:3, :3] = _rotation(raw["tool_in_joint7"]["quaternion_xyzw"])
    tool[:3, 3] = raw["tool_in_joint7"]["position_m"]
    return ArmSpec(
        name=raw["name"],
        joint_names=tuple(raw["joint_names"]),
        q_min=np.array(raw["q_min_rad"]),
        q_max=np.array(raw["q_max_rad"]),
        dq_max=np.array(raw["dq_max_rad_s"]),
        ddq_max=np.array(raw["ddq_max_rad_s2"]),
        jerk_max=np.array(raw["jerk_max_rad_s3"]),
        rate_hz=1000.0,
        paced_by="executor",
        mdh=np.array(raw["mdh"]),
        pose_tool_in_flange=tool,
    )


def _rotation(quaternion_xyzw: list[float]) -> np.ndarray:
    """[3, 3] of a unit quaternion."""
    x, y, z, w = quaternion_xyzw
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
