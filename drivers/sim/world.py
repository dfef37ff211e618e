"""The simulated cell with its cubes and its bin, in this process: what is where, and the truth.

Given the same seed and set-points it gives the same result.
"""

import mujoco
import numpy as np
from tandem.drivers.sim import drawer, scene
from tandem.drivers.sim.arm_world import ArmWorld
from tandem.runtime.errors import RefusedError

_SLIPPERY = (1e-4, 1e-5, 1e-6)
_LIFTED_M = 0.05  # above its resting height on the table


class World(ArmWorld):
    """One cell. Vectors are [7] in the order of the arm's joint names, SI units."""

    def __init__(
        self,
        seed: int = 0,
        cubes: int = 4,
        render_size: int = 128,
        step_s: float = 0.001,
        with_drawer: bool = False,
    ) -> None:
        """`step_s`: physics step; 0.002 halves the cost of data that needs no 1 kHz set-points.

        `with_drawer`: a cabinet stands at the far edge of the table, shut when a scene begins.
        """
        super().__init__(scene.scene_xml(step_s, with_drawer), render_size, step_s)
        self.has_drawer = with_drawer
        self._cubes = cubes
        self._cube_geoms = {c: self.model.geom(c).id for c in scene.COLOURS}
        self._cube_bodies = {c: self.model.body(c).id for c in scene.COLOURS}
        self.reset(seed)

    # -- episodes ---------------------------------------------------------------------------------

    def reset(self, seed: int, cubes: int | None = None) -> scene.Layout:
        """Set up the episode of this seed (with `cubes` cubes from now on, if given)."""
        self._cubes = self._cubes if cubes is None else cubes
        self.rng = np.random.default_rng([seed, 1])  # for disturbances drawn during the episode
        layout = scene.random_layout(seed, self._cubes)
        self.lay_out(layout)
        return layout

    def lay_out(self, layout: scene.Layout) -> None:
        """Put arm, cubes and light exactly where `layout` says, at rest."""
        mujoco.mj_resetData(self.model, self.data)
        self.layout = layout
        self.present: list[str] = []
        self.slides: dict[str, np.ndarray] = {}  # colour → [2] m/s
        for colour in scene.COLOURS:
            if colour in layout.cubes:
                self.place_cube(colour, *layout.cubes[colour])
            else:
                self.park_cube(colour)
        self.place_arm(layout.q_rad)
        self.set_light(layout.light)

    def step(self, q_d: np.ndarray, dq_d: np.ndarray, ddq_d: np.ndarray, gripper: float) -> None:
        """One physics step, see ArmWorld; cubes that slide are kept sliding."""
        if self.slides:
            self._push_sliding_cubes()
        super().step(q_d, dq_d, ddq_d, gripper)

    # -- truth ------------------------------------------------------------------------------------

    def cube_position(self, colour: str) -> np.ndarray:
        """[3] m."""
        return np.array(self.data.joint(colour).qpos[:3])

    def cube_yaw(self, colour: str) -> float:
        """Rotation about the vertical in rad, folded into ±45° because a cube looks the same."""
        w, x, y, z = self.data.joint(colour).qpos[3:]
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        return float((yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4)

    def in_hand(self) -> str | None:
        """The colour that both fingers touch, if any."""
        return next((c for c in self.present if self.between_pads(self._cube_geoms[c])), None)

    def in_bin(self) -> list[str]:
        """Colours whose centre is inside the bin and below its rim."""
        return [c for c in self.present if _inside_bin(self.cube_position(c))]

    def lifted(self, colour: str, height_m: float = _LIFTED_M) -> bool:
        """True when the cube is in the hand and `height_m` above where it rested."""
        high = self.cube_position(colour)[2] > scene.cube_z_m() + height_m
        return bool(high) and self.in_hand() == colour

    def truth(self) -> dict[str, object]:
        """Everything an evaluation asks for, as plain numbers."""
        return {
            "t_s": self.t_s,
            "cubes": {c: [float(v) for v in self.data.joint(c).qpos] for c in self.present},
            "in_hand": self.in_hand(),
            "in_bin": self.in_bin(),
            "lifted": [c for c in self.present if self.lifted(c)],
            "tool": [float(v) for v in self.data.site_xpos[self._tool]],
            "width_m": self.width_m,
            "light": [float(v) for v in self.light],
        }

    # -- changing the scene -----------------------------------------------------------------------

    def place_cube(
        self, colour: str, x: float, y: float, yaw: float, z: float | None = None
    ) -> None:
        """Put a cube there, at rest, in play."""
        self.stop_slide(colour)
        joint = self.data.joint(colour)
        z = scene.cube_z_m() if z is None else z
        joint.qpos[:] = [x, y, z, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        joint.qvel[:] = 0.0
        self._set_collidable(colour, True)
        if colour not in self.present:
            self.present.append(colour)

    def park_cube(self, colour: str) -> None:
        """Take a cube out of play: out of sight, weightless, touching nothing."""
        joint = self.data.joint(colour)
        index = list(scene.COLOURS).index(colour)
        joint.qpos[:] = [index * 0.2, 0, scene.PARKED_Z_M, 1, 0, 0, 0]
        joint.qvel[:] = 0.0
        self._set_collidable(colour, False)
        self.stop_slide(colour)
        if colour in self.present:
            self.present.remove(colour)

    def _set_collidable(self, colour: str, on: bool) -> None:
        geom, body = self._cube_geoms[colour], self._cube_bodies[colour]
        self.model.geom_contype[geom] = 2 if on else 0
        self.model.geom_conaffinity[geom] = 3 if on else 0
        self.model.body_gravcomp[body] = 0.0 if on else 1.0

    @property
    def drawer_m(self) -> float:
        """How far the drawer stands open; 0 where there is none."""
        return float(self.data.joint("drawer").qpos[0]) if self.has_drawer else 0.0

    def set_drawer(self, opening_m: float) -> None:
        """Put the drawer there, at rest.

        Raises:
            RefusedError: there is no drawer, or it does not open so far.
        """
        if not self.has_drawer:
            raise RefusedError("this cell has no drawer; make it with with_drawer=True")
        if not 0 <= opening_m <= drawer.OPENING_MAX_M:
            raise RefusedError(f"the drawer opens by 0 to {drawer.OPENING_MAX_M} m")
        joint = self.data.joint("drawer")
        joint.qpos[0], joint.qvel[0] = opening_m, 0.0

    def slide_cube(self, colour: str, velocity_m_s: np.ndarray) -> None:
        """[2] Let a cube glide over the table until it is held or about to leave the workspace."""
        self.slides[colour] = np.array(velocity_m_s, dtype=float)
        self.model.geom_priority[self._cube_geoms[colour]] = 1  # its friction alone counts
        self.model.geom_friction[self._cube_geoms[colour]] = _SLIPPERY

    def stop_slide(self, colour: str) -> None:
        if self.slides.pop(colour, None) is not None:
            self.data.joint(colour).qvel[:2] = 0.0
        self.model.geom_priority[self._cube_geoms[colour]] = 0
        self.model.geom_friction[self._cube_geoms[colour]] = scene.CUBE_FRICTION

    def _push_sliding_cubes(self) -> None:
        held = self.in_hand()
        for colour, velocity in list(self.slides.items()):
            joint = self.data.joint(colour)
            ahead = joint.qpos[:2] + velocity * 0.05
            if colour == held or not _on_table(ahead):
                self.stop_slide(colour)
            else:
                joint.qvel[:2] = velocity


def _inside_bin(position_m: np.ndarray) -> bool:
    dx, dy = np.abs(position_m[:2] - scene.BIN_CENTRE_M)
    low = position_m[2] < scene.BIN_HEIGHT_M + scene.CUBE_HALF_M
    return bool(dx < scene.BIN_HALF_M[0] and dy < scene.BIN_HALF_M[1] and low)


def _on_table(xy_m: np.ndarray) -> bool:
    (x0, x1), (y0, y1) = scene.X_RANGE_M, scene.Y_RANGE_M
    return bool(x0 <= xy_m[0] <= x1 and y0 <= xy_m[1] <= y1)
