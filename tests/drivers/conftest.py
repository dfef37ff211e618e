"""A scripted hand for physics tests: straight, smooth tool motions by inverse kinematics."""

import numpy as np
import pytest
from tandem.drivers.sim import panda, scene
from tandem.drivers.sim.world import World
from tandem.runtime.ik import InverseKinematics

PERIOD_S = 0.05
HOVER_M = 0.18
GRASP_Z_M = 0.019
_IK = InverseKinematics(panda.panda_spec(), margin_rad=0.02)


def joints_at(position_m: np.ndarray, q_seed: np.ndarray) -> np.ndarray:
    """[7] rad near `q_seed` with the tool pointing straight down at `position_m` [3]."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = position_m
    return _IK.solve(pose, q_seed)


class Hand:
    """Moves the tool of a World along straight lines with quintic timing, pointing down."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.q_d = world.q
        self.gripper = 1.0
        self.lag_rad = 0.0

    def move(self, goal_m: np.ndarray, speed_m_s: float = 0.35) -> None:
        """Peak tool speed `speed_m_s`; ends at rest at `goal_m` [3]."""
        start_m = _IK.pose(self.q_d)[:3, 3]
        distance_m = float(np.linalg.norm(goal_m - start_m))
        duration_s = max(1.875 * distance_m / speed_m_s, 0.4)
        knots = max(2, round(duration_s / PERIOD_S))
        q = [self.q_d]
        for k in range(1, knots + 1):
            u = k / knots
            s = u**3 * (10 - 15 * u + 6 * u * u)
            q.append(joints_at(start_m + s * (goal_m - start_m), q[-1]))
        self._follow(np.array(q))

    def grip(self, opening: float, seconds: float = 0.6) -> None:
        self.gripper = opening
        self._follow(np.repeat(self.q_d[None], max(2, round(seconds / PERIOD_S)), axis=0))

    def _follow(self, q: np.ndarray) -> None:
        """Cubic splines through the rows, one physics step each."""
        t_s = np.arange(len(q)) * PERIOD_S
        steps = round(t_s[-1] / self.world.step_s)
        times_s = (np.arange(steps) + 1) * self.world.step_s
        dq = np.gradient(q, PERIOD_S, axis=0)
        dq[0] = dq[-1] = 0.0
        k = np.minimum((times_s / PERIOD_S).astype(int), len(q) - 2)
        u = ((times_s - t_s[k]) / PERIOD_S)[:, None]
        h00, h01 = 1 - 3 * u**2 + 2 * u**3, 3 * u**2 - 2 * u**3
        h10, h11 = u - 2 * u**2 + u**3, u**3 - u**2
        q_d = h00 * q[k] + h01 * q[k + 1] + PERIOD_S * (h10 * dq[k] + h11 * dq[k + 1])
        dq_d = np.gradient(q_d, self.world.step_s, axis=0)
        ddq_d = np.gradient(dq_d, self.world.step_s, axis=0)
        for row in zip(q_d, dq_d, ddq_d, strict=True):
            self.world.step(*row, self.gripper)
            self.lag_rad = max(self.lag_rad, float(np.abs(self.world.q - row[0]).max()))
        self.q_d = q_d[-1]

    def pick(self, colour: str, height_m: float = HOVER_M) -> None:
        """Approach from above, close, lift to `height_m`."""
        x, y, _ = self.world.cube_position(colour)
        self.grip(1.0, 0.2)
        self.move(np.array([x, y, HOVER_M]))
        self.move(np.array([x, y, GRASP_Z_M]))
        self.grip(0.0)
        self.move(np.array([x, y, height_m]))

    def drop_into_bin(self) -> None:
        x, y = scene.BIN_CENTRE_M
        self.move(np.array([x, y, HOVER_M]))
        self.move(np.array([x, y, 0.10]))
        self.grip(1.0, 1.0)


@pytest.fixture
def hand_of():
    """World → a scripted hand in it."""
    return Hand
