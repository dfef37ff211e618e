"""The arm of the simulated cell, whatever stands around it: physics, impedance, lamp, pictures.

Nothing in here knows of time-outs, processes or knots; the plant loop and the lockstep arm feed it
one set-point per step. Given the same beginning and set-points it gives the same result.
"""

import mujoco
import numpy as np
from tandem.drivers.sim import panda
from tandem.drivers.sim.render import SceneRenderer, set_light

DOF = panda.DOF
FINGERS = slice(DOF, DOF + 2)
_HALF_OPEN_M = panda.OPEN_WIDTH_M / 2
_LIGHT_MAX = 3.0


class ArmWorld:
    """One arm in one scene. Vectors are [7] in the order of the arm's joint names, SI units."""

    def __init__(self, xml: str, render_size: int, step_s: float) -> None:
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)
        self.step_s = step_s
        self._render_size = render_size
        self._renderer: SceneRenderer | None = None
        self._tool = self.model.site("tool").id
        self._pads = [self.model.geom(f"pad_{side}").id for side in ("left", "right")]
        self._grip_step_m = panda.FINGER_SPEED_M_S / 2 * step_s
        self._acceleration = np.zeros(self.model.nv)
        self._inertial = np.zeros(self.model.nv)
        self._damping = panda.DAMPING_NMS_RAD + panda.JOINT_FRICTION_NMS_RAD

    def place_arm(self, q: np.ndarray, opening: float = 1.0) -> None:
        """Put the arm at `q`, at rest, with the gripper at `opening` 0…1."""
        self.data.qpos[:DOF] = q
        self.data.qpos[FINGERS] = opening * _HALF_OPEN_M
        self.data.qvel[: DOF + 2] = 0.0
        self.data.ctrl[:DOF] = q
        self.data.ctrl[DOF] = opening * _HALF_OPEN_M
        mujoco.mj_forward(self.model, self.data)

    # -- motion -----------------------------------------------------------------------------------

    def step(self, q_d: np.ndarray, dq_d: np.ndarray, ddq_d: np.ndarray, gripper: float) -> None:
        """One physics step, impedance-controlled to the set-point; `gripper` 0 closed … 1 open."""
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
        return float(self.data.qpos[FINGERS].sum())

    def tool_pose(self) -> np.ndarray:
        """[4, 4] pose_tool_in_base."""
        pose = np.eye(4)
        pose[:3, :3] = self.data.site_xmat[self._tool].reshape(3, 3)
        pose[:3, 3] = self.data.site_xpos[self._tool]
        return pose

    def between_pads(self, geom: int) -> bool:
        """True when both fingers touch this geom."""
        pairs = self.data.contact.geom
        touching = pairs[(pairs == geom).any(axis=1)]
        return all((touching == pad).any() for pad in self._pads)

    # -- light and pictures -----------------------------------------------------------------------

    def set_light(self, light: np.ndarray) -> None:
        """[3] brightness of red, green, blue; 1 is normal."""
        self.light = np.clip(np.broadcast_to(light, 3).astype(float), 0.0, _LIGHT_MAX)
        set_light(self.model, self.light)

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
