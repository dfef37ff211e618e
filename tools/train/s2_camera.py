"""Where the front camera sees a point: labels for patches come from geometry, not from pixels."""

import numpy as np
from tandem.drivers.sim.world import World

PATCH_PIXELS = 16


def projection(camera: str = "front", size: int = 128) -> np.ndarray:
    """[3, 4]: homogenous pixels (u right, v down) of [x, y, z, 1] in metres, robot base frame."""
    world = World()
    model, data = world.model, world.data
    index = model.camera(camera).id
    # MuJoCo's cameras look along −z with y up; pictures count rows downward.
    rotation = np.diag([1.0, -1.0, -1.0]) @ data.cam_xmat[index].reshape(3, 3).T
    focal = size / 2 / np.tan(np.deg2rad(model.cam_fovy[index]) / 2)
    inner = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    world.close()
    return inner @ np.column_stack([rotation, -rotation @ data.cam_xpos[index]])


def pixels(camera: np.ndarray, points_m: np.ndarray) -> np.ndarray:
    """Pixels [..., 2] of points [..., 3]; NaN stays NaN."""
    homogenous = points_m @ camera[:, :3].T + camera[:, 3]
    return homogenous[..., :2] / homogenous[..., 2:]


def patches(camera: np.ndarray, points_m: np.ndarray, grid: int = 8) -> np.ndarray:
    """Patch index [...] int64 of points [..., 3], −1 for what is absent or out of view."""
    cell = np.floor(pixels(camera, points_m) / PATCH_PIXELS)
    inside = np.isfinite(cell).all(-1) & (cell >= 0).all(-1) & (cell < grid).all(-1)
    cell = np.where(inside[..., None], cell, 0).astype(np.int64)
    return np.where(inside, cell[..., 1] * grid + cell[..., 0], -1)
