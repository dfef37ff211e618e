"""Where the flange is: forward kinematics of both arms, written for this emulator alone."""

import numpy as np

# Modified Denavit-Hartenberg, Craig: a m, d m, alpha as a quarter turn (-1, 0, 1).
_LINKS = (
    (0.0, 0.333, 0), (0.0, 0.0, -1), (0.0, 0.316, 1), (0.0825, 0.0, 1),
    (-0.0825, 0.384, -1), (0.0, 0.0, 1), (0.088, 0.0, 1),
)  # fmt: skip
_FLANGE_M = 0.107


def tool_pose(q: np.ndarray) -> np.ndarray:
    """[16] column-major pose of the flange in the base at `q` [7] rad."""
    x, y, z = np.eye(3)
    origin = np.zeros(3)
    for (a, d, quarter), c, s in zip(_LINKS, np.cos(q), np.sin(q), strict=True):
        origin = origin + a * x
        if quarter:
            y, z = quarter * z, -quarter * y
        origin = origin + d * z
        x, y = c * x + s * y, c * y - s * x
    pose = np.zeros((4, 4))
    pose[0, :3], pose[1, :3], pose[2, :3] = x, y, z
    pose[3, :3], pose[3, 3] = origin + _FLANGE_M * z, 1
    return pose.ravel()
