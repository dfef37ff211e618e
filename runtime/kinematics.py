"""Where the tool is and how the joints move it: forward kinematics fast enough for every tick."""

from math import cos, sin
from typing import Literal

import numpy as np
from tandem.runtime.interfaces import Array

# Damping of the inverse, m²/rad²: at a singularity the tool loses speed instead of the joints
# gaining it (Nakamura and Hanafusa 1986). Elsewhere it costs less than a percent of the speed.
_DAMPING = 2e-4

Triple = tuple[float, float, float]


class Chain:
    """A serial arm in modified Denavit-Hartenberg form (Craig, Introduction to Robotics, ch. 3).

    Each link's transform is `fixed + cos θ · with_cos + sin θ · with_sin`, so the trigonometry of
    all joints is two calls and the rest is a product of small matrices into memory that is there
    already. The next `update` overwrites the results of the last.
    """

    def __init__(self, mdh: Array, pose_tool_in_flange: Array) -> None:
        """`mdh` [D, 4]: a_m, d_m, alpha_rad, theta0_rad per joint.

        Raises:
            ValueError: another shape.
        """
        joints = len(mdh)
        if mdh.shape != (joints, 4) or joints == 0 or pose_tool_in_flange.shape != (4, 4):
            raise ValueError(f"mdh must be [D, 4] and the tool [4, 4], not {mdh.shape}")
        a, d, alpha, self._theta0 = mdh.T
        ca, sa = np.cos(alpha), np.sin(alpha)
        # The same as plain numbers, from the tool to the base, for `moving`.
        self._backwards = np.array((a, d, ca, sa, self._theta0)).T[::-1].tolist()
        self._still = np.zeros(joints)
        self._parts = np.zeros((3, joints, 4, 4))  # fixed, with_cos, with_sin
        fixed, with_cos, with_sin = self._parts
        fixed[:, 0, 3], fixed[:, 1, 3], fixed[:, 2, 3] = a, -d * sa, d * ca
        fixed[:, 1, 2], fixed[:, 2, 2], fixed[:, 3, 3] = -sa, ca, 1
        with_cos[:, 0, 0], with_cos[:, 1, 1], with_cos[:, 2, 1] = 1, ca, sa
        with_sin[:, 0, 1], with_sin[:, 1, 0], with_sin[:, 2, 0] = -1, ca, sa
        # The tool never turns against the flange: it is part of the last link, once.
        self._tool = np.array(pose_tool_in_flange, dtype=float)
        self._tool_m = self._tool[:3, 3].tolist()
        self._links = np.zeros((joints, 4, 4))
        self._scratch = np.zeros((joints, 4, 4))
        self._poses = np.zeros((joints, 4, 4))
        self.pose = np.eye(4)  # [4, 4] pose_tool_in_base
        self.jacobian = np.zeros((6, joints))  # [6, D] base frame, at the tool: m/s, then rad/s

    def update(self, q: Array) -> "Chain":
        """Compute `pose` and `jacobian` at `q` [D] rad."""
        self._place(q)
        axes, origins = self._poses[:, :3, 2], self._poses[:, :3, 3]
        (x, y, z), (rx, ry, rz) = axes.T, (self.pose[:3, 3] - origins).T
        jacobian = self.jacobian
        jacobian[0], jacobian[1], jacobian[2] = y * rz - z * ry, z * rx - x * rz, x * ry - y * rx
        jacobian[3:] = axes.T
        return self

    def position(self, q: Array) -> Array:
        """[3] m, the tool in the base frame; leaves `pose` and `jacobian` as they were."""
        return np.array(self.moving(q, self._still)[0])

    def moving(self, q: Array, dq: Array) -> tuple[Triple, Triple]:
        """Where the tool is, m, and its velocity, m/s, in the base frame; leaves all as it was.

        One point and its velocity are carried from the tool to the base, frame by frame: on seven
        joints, plain numbers take a fifth of the time of matrices, whose calls cost more than their
        arithmetic.
        """
        x, y, z = self._tool_m
        vx = vy = vz = 0.0
        backwards = zip(self._backwards, q[::-1].tolist(), dq[::-1].tolist(), strict=True)
        for (a, d, ca, sa, theta0), q_rad, dq_rad_s in backwards:
            c, s = cos(q_rad + theta0), sin(q_rad + theta0)
            vx, vy = vx - dq_rad_s * y, vy + dq_rad_s * x  # the joint turns about its z
            x, y, z = c * x - s * y + a, s * x + c * y, z + d
            vx, vy = c * vx - s * vy, s * vx + c * vy
            y, z = ca * y - sa * z, sa * y + ca * z
            vy, vz = ca * vy - sa * vz, sa * vy + ca * vz
        return (x, y, z), (vx, vy, vz)

    def in_base(self, twist: Array, frame: Literal["base", "tool"]) -> Array:
        """[6] m/s and rad/s in the base frame, of a twist given in base or tool axes."""
        if frame == "base":
            return twist
        turned: Array = (twist.reshape(2, 3) @ self.pose[:3, :3].T).reshape(6)
        return turned

    def joint_velocity(self, twist: Array) -> Array:
        """[D] rad/s that moves the tool by `twist` [6] in the base frame, from the last update."""
        jacobian = self.jacobian
        square = jacobian @ jacobian.T
        square.flat[::7] += _DAMPING
        dq: Array = jacobian.T @ np.linalg.solve(square, twist)
        return dq

    def _place(self, q: Array) -> None:
        theta = q + self._theta0
        fixed, with_cos, with_sin = self._parts
        np.multiply(with_cos, np.cos(theta)[:, None, None], out=self._links)
        np.multiply(with_sin, np.sin(theta)[:, None, None], out=self._scratch)
        self._links += self._scratch
        self._links += fixed
        poses, links = self._poses, self._links
        poses[0] = links[0]
        for i in range(1, len(links)):
            np.dot(poses[i - 1], links[i], out=poses[i])
        np.dot(poses[-1], self._tool, out=self.pose)
