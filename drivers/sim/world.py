"""The simulated cell in this process: physics at 1 kHz, the arm's own impedance, truth, pictures.

Nothing in here knows of time-outs, processes or knots; the plant loop and the lockstep arm feed it
one set-point per step. Given the same seed and set-points it gives the same result.
"""

import mujoco
import numpy as np
from tandem.drivers.sim import panda, scene
from tandem.drivers.sim.render import SceneRenderer, set_light

DOF = panda.DOF
_FINGERS = slice(DOF, DOF + 2)
_HALF_OPEN_M = panda.OPEN_WIDTH_M / 2
_SLIPPERY = (1e-4, 1e-5, 1e-6)
_LIFTED_M = 0.05  # above its resting height on the table
_LIGHT_MAX = 3.0


class World:
    """One cell. Vectors are [7] in the order of the arm's joint names, SI units."""

    def __init__(
        self, seed: int = 0, cubes: int = 4, render_size: int = 128, step_s: float = 0.001
    ) -> None:
        """`step_s`: physics step; 0.002 halves the cost of data that needs no 1 kHz set-points."""
        self.model = mujoco.MjModel.from_xml_string(scene.scene_xml(step_s))
        self.data = mujoco.MjData(self.model)
        self.step_s = step_s
        self._cubes = cubes
        self._render_size = render_size
        self._renderer: SceneRenderer | None = None
        self._spec = panda.panda_spec()
        self._tool = self.model.site("tool").id
        self._pads = [self.model.geom(f"pad_{side}").id for side in ("left", "right")]
        self._cube_geoms = {c: self.model.geom(c).id for c in scene.COLOURS}
        self._cube_bodies = {c: self.model.body(c).id for c in scene.COLOURS}
        self._grip_step_m = panda.FINGER_SPEED_M_S / 2 * step_s
        self._acceleration = np.zeros(self.model.nv)
        self._inertial = np.zeros(self.model.nv)
        self._damping = panda.DAMPING_NMS_RAD + panda.JOINT_FRICTION_NMS_RAD
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

    def place_arm(self, q: np.ndarray, opening: float = 1.0) -> None:
        """Put the arm at `q`, at rest, with the gripper at `opening` 0…1."""
        self.data.qpos[:DOF] = q
        self.data.qpos[_FINGERS] = opening * _HALF_OPEN_M
        self.data.qvel[: DOF + 2] = 0.0
        self.data.ctrl[:DOF] = q
        self.data.ctrl[DOF] = opening * _HALF_OPEN_M
        mujoco.mj_forward(self.model, self.data)

    # -- motion -----------------------------------------------------------------------------------

    def step(self, q_d: np.ndarray, dq_d: np.ndarray, ddq_d: np.ndarray, gripper: float) -> None:
        """One physics step, impedance-controlled to the set-point; `gripper` 0 closed … 1 open."""
        if self.slides:
            self._push_sliding_cubes()
        self._command(q_d, dq_d, ddq_d, gripper)
        mujoco.mj_step(self.model, self.data)

    def run(
        self, q_d: np.ndarray, dq_d: np.ndarray, ddq_d: np.ndarray, gripper: np.ndarray
    ) -> None:
        """N steps: set-points [N, 7] and gripper [N]."""
        for row in zip(q_d, dq_d, ddq_d, gripper, strict=True):
            self.step(*row)

    def _command(
        self, q_d: np.ndarray, dq_d: np.ndarray, ddq_d: np.ndarray, gripper: float
    ) -> None:
        data = self.data
        self._acceleration[:DOF] = ddq_d
        mujoco.mj_mulM(self.model, data, self._inertial, self._acceleration)
        # Gravity is compensated inside the model; what the bias has beyond it is Coriolis.
        feedforward = self._inertial[:DOF] + data.qfrc_bias[:DOF] - data.qfrc_gravcomp[:DOF]
        feedforward += self._damping * dq_d
        # The set-point is for the end of the step, the spring acts from its beginning.
        data.ctrl[:DOF] = q_d - self.step_s * dq_d + feedforward / panda.STIFFNESS_NM_RAD
        wanted_m = min(max(gripper, 0.0), 1.0) * _HALF_OPEN_M
        travel_m = wanted_m - data.ctrl[DOF]
        data.ctrl[DOF] += min(max(travel_m, -self._grip_step_m), self._grip_step_m)

    # -- the arm as it is -------------------------------------------------------------------------

    @property
    def t_s(self) -> float:
        return float(self.data.time)

    @property
    def q(self) -> np.ndarray:
        return np.array(self.data.qpos[:DOF])

    @property
    def dq(self) -> np.ndarray:
        return np.array(self.data.qvel[:DOF])

    @property
    def tau(self) -> np.ndarray:
        """Nm at the joints, gravity included, as a torque sensor reads it."""
        return np.array(self.data.qfrc_actuator[:DOF] + self.data.qfrc_gravcomp[:DOF])

    @property
    def width_m(self) -> float:
        return float(self.data.qpos[_FINGERS].sum())

    def tool_pose(self) -> np.ndarray:
        """[4, 4] pose_tool_in_base."""
        pose = np.eye(4)
        pose[:3, :3] = self.data.site_xmat[self._tool].reshape(3, 3)
        pose[:3, 3] = self.data.site_xpos[self._tool]
        return pose

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
        pairs = self.data.contact.geom
        for colour in self.present:
            cube = self._cube_geoms[colour]
            touching = pairs[(pairs == cube).any(axis=1)]
            if all((touching == pad).any() for pad in self._pads):
                return colour
        return None

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

    def set_light(self, light: np.ndarray) -> None:
        """[3] brightness of red, green, blue; 1 is normal."""
        self.light = np.clip(np.broadcast_to(light, 3).astype(float), 0.0, _LIGHT_MAX)
        set_light(self.model, self.light)

    # -- pictures ---------------------------------------------------------------------------------

    def render(self, camera: str, out: np.ndarray | None = None) -> np.ndarray:
        """[H, W, 3] uint8 RGB of the scene as it is."""
        if self._renderer is None:
            size = self._render_size
            self._renderer = SceneRenderer(self.model, size, size)
        return self._renderer.render(self.data, camera, out)

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _inside_bin(position_m: np.ndarray) -> bool:
    dx, dy = np.abs(position_m[:2] - scene.BIN_CENTRE_M)
    low = position_m[2] < scene.BIN_HEIGHT_M + scene.CUBE_HALF_M
    return bool(dx < scene.BIN_HALF_M[0] and dy < scene.BIN_HALF_M[1] and low)


def _on_table(xy_m: np.ndarray) -> bool:
    (x0, x1), (y0, y1) = scene.X_RANGE_M, scene.Y_RANGE_M
    return bool(x0 <= xy_m[0] <= x1 and y0 <= xy_m[1] <= y1)
