"""The cell around the arm: a table, cubes of six colours, an open bin, three cameras, one lamp.

Metres and radians in the robot's base frame. A lay-out is drawn from a seed and nothing else, so
any episode can be set up again from its number.
"""

from dataclasses import dataclass

import numpy as np
from tandem.drivers.sim import drawer, panda

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.10, 0.09),
    "green": (0.10, 0.62, 0.18),
    "blue": (0.10, 0.28, 0.85),
    "yellow": (0.95, 0.83, 0.08),
    "purple": (0.52, 0.17, 0.68),
    "orange": (0.97, 0.46, 0.06),
}
CUBE_HALF_M = 0.021
CUBE_MASS_KG = 0.05
CUBE_FRICTION = (1.2, 0.02, 0.0005)
X_RANGE_M = (0.36, 0.62)  # where cubes are laid
Y_RANGE_M = (-0.20, 0.20)
SPACING_M = 0.095  # between cube centres, so that the fingers fit between two
YAW_MAX_RAD = 0.2
BIN_CENTRE_M = (0.47, -0.355)
BIN_HALF_M = (0.10, 0.08)  # inside
BIN_HEIGHT_M = 0.045  # lower than the palm over a cube that lies beside it
START_NOISE_RAD = 0.08
CAMERAS = ("front", "side", "wrist")
PARKED_Z_M = -2.0  # cubes that are not in play wait far below the floor
_WALL_M = 0.006
_FLOOR_Z_M = -0.8


@dataclass(frozen=True)
class Layout:
    """How an episode begins. `cubes`: colour → (x m, y m, yaw rad); `light` [3]: 1 is normal."""

    cubes: dict[str, tuple[float, float, float]]
    q_rad: np.ndarray  # [7]
    light: np.ndarray


def random_layout(seed: int, cubes: int = 4) -> Layout:
    """Draw a lay-out; `cubes` of the six colours are on the table."""
    if not 1 <= cubes <= len(COLOURS):
        raise ValueError(f"{cubes} cubes asked for; there are 1 to {len(COLOURS)}")
    rng = np.random.default_rng(seed)
    colours = [str(c) for c in rng.permutation(list(COLOURS))[:cubes]]
    spots: list[np.ndarray] = []
    while len(spots) < cubes:
        spots.append(free_spot(rng, spots))
    yaws = rng.uniform(-YAW_MAX_RAD, YAW_MAX_RAD, cubes)
    return Layout(
        cubes={
            c: (float(p[0]), float(p[1]), float(yaw))
            for c, p, yaw in zip(colours, spots, yaws, strict=True)
        },
        q_rad=panda.HOME_Q_RAD + rng.uniform(-START_NOISE_RAD, START_NOISE_RAD, panda.DOF),
        light=np.full(3, rng.uniform(0.85, 1.1)),
    )


def free_spot(rng: np.random.Generator, taken: list[np.ndarray]) -> np.ndarray:
    """[2] a place in the workspace at least SPACING_M from all `taken` [2]."""
    for _ in range(10_000):
        spot = np.array([rng.uniform(*X_RANGE_M), rng.uniform(*Y_RANGE_M)])
        if all(np.hypot(*(spot - other[:2])) > SPACING_M for other in taken):
            return spot
    raise ValueError(f"no free place left on the table beside {len(taken)} cubes")


def elsewhere(rng: np.random.Generator, places: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """New places (x m, y m, yaw rad) for all these cubes [2] at once, drawn as a lay-out is.

    Each is at least SPACING_M from where it was; where another one was may be taken.
    """
    while True:
        spots: list[np.ndarray] = []
        while len(spots) < len(places):
            spots.append(free_spot(rng, spots))
        away = [np.hypot(*(a - b[:2])) for a, b in zip(spots, places.values(), strict=True)]
        if min(away, default=np.inf) > SPACING_M:
            break
    yaws = rng.uniform(-YAW_MAX_RAD, YAW_MAX_RAD, len(places))
    return {
        colour: [float(x), float(y), float(yaw)]
        for colour, (x, y), yaw in zip(places, spots, yaws, strict=True)
    }


def cube_z_m() -> float:
    return CUBE_HALF_M + 0.0002


def scene_xml(step_s: float = 0.001, with_drawer: bool = False) -> str:
    """The whole cell. All six cubes are in the model; those not in play are parked.

    The cabinet comes last, so that arm and cubes keep their places in the state.
    """
    cubes = "".join(_cube_xml(i, colour) for i, colour in enumerate(COLOURS))
    bin_material = '<material name="bin" rgba=".20 .23 .26 1" specular="0.1"/>'
    if with_drawer:
        bin_material, cubes = bin_material + drawer.MATERIALS_XML, cubes + drawer.drawer_xml()
    return cell_xml(step_s, bin_material, _bin_xml(), cubes)


def cell_xml(step_s: float, materials: str, furniture: str, objects: str) -> str:
    """A table, a lamp, two fixed cameras and the arm, with whatever stands on the table."""
    return f"""<mujoco model="tandem_cell">
<compiler angle="radian" autolimits="true"/>
<option timestep="{step_s}" integrator="implicitfast" cone="elliptic" impratio="10">
  <flag sleep="enable"/>
</option>
<visual>
  <headlight ambient=".36 .36 .36" diffuse=".42 .42 .42" specular=".08 .08 .08"/>
  <global offwidth="1280" offheight="1280"/>
  <quality shadowsize="1024" offsamples="0" numslices="16" numstacks="8" numquads="1"/>
  <map znear="0.01"/>
</visual>
<default>{panda.DEFAULTS_XML}</default>
<asset>{panda.MATERIALS_XML}
  <texture name="wood" type="2d" builtin="flat" rgb1=".74 .63 .49" width="8" height="8"/>
  <material name="table" texture="wood" specular="0.1"/>
  {materials}
  <texture name="sky" type="skybox" builtin="gradient" rgb1=".82 .86 .9" rgb2=".55 .6 .65"
           width="64" height="64"/>
</asset>
<worldbody>
  <light name="lamp" pos="0.6 -0.6 2.2" dir="-0.1 0.35 -1" diffuse=".5 .5 .5" castshadow="false"/>
  <geom name="table" type="box" pos="0.4 0 -0.025" size="0.5 0.55 0.025" material="table"
        contype="2" conaffinity="3"/>
  <geom name="floor" type="plane" pos="0 0 {_FLOOR_Z_M}" size="3 3 .1" rgba=".6 .62 .65 1"
        contype="2" conaffinity="3"/>
  <camera name="front" pos="1.3 -0.1 0.72" xyaxes="0 1 0 -0.53 0 0.848" fovy="40"/>
  <camera name="side" pos="0.40 -1.45 0.75" xyaxes="1 0 0 0 0.30 0.954" fovy="43"/>
  {furniture}{panda.arm_xml()}{objects}
</worldbody>
{panda.COUPLING_XML}{panda.actuators_xml()}
</mujoco>"""


def _cube_xml(index: int, colour: str) -> str:
    r, g, b = COLOURS[colour]
    half, friction = CUBE_HALF_M, " ".join(map(str, CUBE_FRICTION))
    return f"""
<body name="{colour}" pos="{index * 0.2} 0 {PARKED_Z_M}">
  <freejoint name="{colour}"/>
  <geom name="{colour}" type="box" size="{half} {half} {half}" rgba="{r} {g} {b} 1"
        mass="{CUBE_MASS_KG}" contype="2" conaffinity="3" friction="{friction}" condim="4"
        solref="0.004 1"/>
</body>"""


def _bin_xml() -> str:
    (cx, cy), (hx, hy), height, wall = BIN_CENTRE_M, BIN_HALF_M, BIN_HEIGHT_M, _WALL_M
    plates = (
        (cx, cy, wall / 2, hx, hy, wall / 2),
        (cx - hx, cy, height / 2, wall / 2, hy, height / 2),
        (cx + hx, cy, height / 2, wall / 2, hy, height / 2),
        (cx, cy - hy, height / 2, hx, wall / 2, height / 2),
        (cx, cy + hy, height / 2, hx, wall / 2, height / 2),
    )
    return "".join(
        f'<geom type="box" pos="{x} {y} {z}" size="{sx} {sy} {sz}" material="bin" '
        'contype="2" conaffinity="3"/>'
        for x, y, z, sx, sy, sz in plates
    )
