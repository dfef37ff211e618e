"""A cell for tasks of memory: a burner and two cans that look the same, each on a place of a grid.

Nothing in the picture tells which can has been heated, or for how long. The can's looks are a
cylinder; it collides as the box inside, because a cylinder on a box touches it in a single point of
contact and would not stand still.
"""

from dataclasses import dataclass

import numpy as np
from tandem.drivers.sim import scene

CANS = ("can_a", "can_b")  # names for the judge; no picture tells them apart
CAN_HALF_M = (0.0225, 0.0225, 0.045)
CAN_MASS_KG = 0.08
BURNER_M = (0.49, -0.29)
BURNER_HALF_M = 0.06
BURNER_TOP_M = 0.008
GRID_X_M = (0.38, 0.49, 0.60)
GRID_Y_M = (-0.10, 0.04, 0.18)  # far enough apart for the open fingers
PLACES_M = tuple((x, y) for y in GRID_Y_M for x in GRID_X_M)
JITTER_M = 0.008  # a can stands so near to its place
_CAN_LOOKS_M = (0.0255, 0.045)  # radius, half of the height


@dataclass(frozen=True)
class KitchenLayout:
    """How an episode begins: `places` index into PLACES_M, `cans` [2, 2] m, `light` [3]."""

    places: tuple[int, int]
    cans: np.ndarray
    light: np.ndarray


def random_kitchen(seed: int) -> KitchenLayout:
    """Draw a lay-out: two different places, the cans near them. The arm begins at home."""
    rng = np.random.default_rng([seed, 11])
    first, second = (int(i) for i in rng.permutation(len(PLACES_M))[:2])
    centres = np.array([PLACES_M[first], PLACES_M[second]])
    return KitchenLayout(
        places=(first, second),
        cans=centres + rng.uniform(-JITTER_M, JITTER_M, (2, 2)),
        light=np.full(3, rng.uniform(0.85, 1.1)),
    )


def standing_z_m(on_burner: bool = False) -> float:
    """Height of the centre of a can that stands."""
    return CAN_HALF_M[2] + 0.0002 + (BURNER_TOP_M if on_burner else 0.0)


def kitchen_xml(step_s: float = 0.001) -> str:
    materials = """
  <material name="tin" rgba=".78 .79 .80 1" specular=".4" shininess=".4"/>
  <material name="label" rgba=".10 .42 .55 1" specular=".1"/>
  <material name="iron" rgba=".16 .16 .18 1" specular=".1"/>
  <material name="coil" rgba=".75 .22 .10 1"/>"""
    cans = "".join(_can_xml(i, name) for i, name in enumerate(CANS))
    return scene.cell_xml(step_s, materials, _burner_xml(), cans)


def _burner_xml() -> str:
    (x, y), half, thick = BURNER_M, BURNER_HALF_M, BURNER_TOP_M / 2
    side = half * 0.7  # of the square inside the disc
    return f"""
  <geom class="look" type="cylinder" pos="{x} {y} {thick}" size="{half} {thick}" material="iron"/>
  <geom class="look" type="cylinder" pos="{x} {y} {thick + 0.0003}" size="{half * 0.75} {thick}"
        material="coil"/>
  <geom name="burner" type="box" pos="{x} {y} {thick}" size="{side} {side} {thick}" group="3"
        contype="2" conaffinity="3"/>"""


def _can_xml(index: int, name: str) -> str:
    half, friction = " ".join(map(str, CAN_HALF_M)), " ".join(map(str, scene.CUBE_FRICTION))
    radius, height = _CAN_LOOKS_M
    return f"""
<body name="{name}" pos="{index * 0.2} 0.3 {CAN_HALF_M[2]}">
  <freejoint name="{name}"/>
  <geom name="{name}" type="box" size="{half}" group="3" mass="{CAN_MASS_KG}" contype="2"
        conaffinity="3" friction="{friction}" condim="4" solref="0.004 1"/>
  <geom class="look" type="cylinder" size="{radius * 0.98} {height}" material="tin"/>
  <geom class="look" type="cylinder" size="{radius} {height * 0.72}" material="label"/>
</body>"""
