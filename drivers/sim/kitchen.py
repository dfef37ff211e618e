"""The cell with a burner and two cans, in this process; what is true of it is for a judge alone."""

from dataclasses import dataclass

import mujoco
import numpy as np
from tandem.drivers.sim import kitchen_scene, panda
from tandem.drivers.sim.arm_world import ArmWorld
from tandem.drivers.sim.kitchen_scene import CANS, KitchenLayout

_TILTED_COS = 0.9


@dataclass(frozen=True)
class KitchenTruth:
    """A moment. Rows count in the order of CANS."""

    t_s: float
    cans: np.ndarray  # [2, 3] m, centres
    on_burner: tuple[bool, bool]  # standing on it, held or not
    in_hand: tuple[bool, bool]  # both fingers touch it
    upright: tuple[bool, bool]


class Kitchen(ArmWorld):
    """One kitchen; given the same seed and set-points it gives the same result."""

    def __init__(self, seed: int = 0, render_size: int = 128, step_s: float = 0.001) -> None:
        super().__init__(kitchen_scene.kitchen_xml(step_s), render_size, step_s)
        self._geoms = [self.model.geom(name).id for name in CANS]
        self._burner = self.model.geom("burner").id
        self.reset(seed)

    def reset(self, seed: int) -> KitchenLayout:
        """Set up the episode of this seed: arm at home and at rest, hand open."""
        layout = kitchen_scene.random_kitchen(seed)
        self.lay_out(layout)
        return layout

    def lay_out(self, layout: KitchenLayout) -> None:
        mujoco.mj_resetData(self.model, self.data)
        self.layout = layout
        for can, (x, y) in enumerate(layout.cans):
            self.place_can(can, x, y)
        self.place_arm(panda.HOME_Q_RAD)
        self.set_light(layout.light)

    def place_can(self, can: int, x: float, y: float, z: float | None = None) -> None:
        """Put a can there, upright and at rest."""
        joint = self.data.joint(CANS[can])
        z = kitchen_scene.standing_z_m() if z is None else z
        joint.qpos[:] = [x, y, z, 1, 0, 0, 0]
        joint.qvel[:] = 0.0

    def truth(self) -> KitchenTruth:
        poses = np.array([self.data.joint(name).qpos for name in CANS])
        leaning = 1 - 2 * (poses[:, 4] ** 2 + poses[:, 5] ** 2)  # cosine to the vertical
        pairs = self.data.contact.geom
        with_burner = pairs[(pairs == self._burner).any(axis=1)]
        return KitchenTruth(
            t_s=self.t_s,
            cans=poses[:, :3],
            on_burner=_pair([(with_burner == geom).any() for geom in self._geoms]),
            in_hand=_pair([self.between_pads(geom) for geom in self._geoms]),
            upright=_pair(leaning > _TILTED_COS),
        )


def _pair(values: np.ndarray | list[bool]) -> tuple[bool, bool]:
    first, second = values
    return bool(first), bool(second)
