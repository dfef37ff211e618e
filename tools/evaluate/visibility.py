"""Whether a camera could have seen a change at all: a cube behind the arm is nobody's fault.

A copy of the cell is set up as the truth says and drawn once more, in labels instead of colours.
"""

import mujoco
import numpy as np
from tandem.drivers.sim.arm_world import DOF
from tandem.drivers.sim.scene import COLOURS
from tandem.drivers.sim.world import World
from tandem.tools.evaluate.truth import Truth

Array = np.ndarray
VISIBLE_PX = 12  # of 128 × 128; a cube in full view covers 40 … 90
ROBOT = -1
ROBOT_BODY = "link0"  # what all of the arm hangs on


class Eye:
    """Draws labels [H, W] int8: 1 … 6 for the cubes in order of `COLOURS`, ROBOT, else 0."""

    def __init__(self, cameras: tuple[str, ...], size_px: int = 128) -> None:
        self._world = World()
        self._cameras = cameras
        self._renderer = mujoco.Renderer(self._world.model, size_px, size_px)
        self._renderer.enable_segmentation_rendering()
        self._label = self._labels_of_geoms()

    def look(self, truth: Truth) -> Array:
        """Labels of every camera, [cameras, H, W]."""
        self._arrange(truth)
        return np.stack([self._draw(camera) for camera in self._cameras])

    def close(self) -> None:
        self._renderer.close()
        self._world.close()

    def _draw(self, camera: str) -> Array:
        self._renderer.update_scene(self._world.data, camera=camera)
        geom = self._renderer.render()[..., 0]  # object id, -1 for the sky
        return self._label[geom]

    def _arrange(self, truth: Truth) -> None:
        data = self._world.data
        for colour in COLOURS:
            if colour in truth.cubes:
                data.joint(colour).qpos[:] = truth.cubes[colour]
            else:
                self._world.park_cube(colour)
        data.qpos[:DOF] = truth.q_rad
        data.qpos[DOF : DOF + 2] = truth.width_m / 2
        mujoco.mj_kinematics(self._world.model, data)

    def _labels_of_geoms(self) -> Array:
        """Label of each geom id; the last entry is that of the sky, id -1."""
        model = self._world.model
        robot = model.body(ROBOT_BODY).id
        label = np.zeros(model.ngeom + 1, np.int8)
        for geom in range(model.ngeom):
            if model.body_rootid[model.geom_bodyid[geom]] == robot:
                label[geom] = ROBOT
        for number, colour in enumerate(COLOURS, start=1):
            label[model.geom(colour).id] = number
        return label


def changed_px(before: Array, now: Array, colour: str) -> int:
    """Pixels that show the cube in one of two label pictures only, and not the robot since."""
    number = list(COLOURS).index(colour) + 1
    differs = (before == number) != (now == number)
    return int((differs & (now != ROBOT)).sum())
