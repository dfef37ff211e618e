"""Cheap pictures of the cell: no shadows, no antialiasing, about a millisecond per 128 px frame."""

import mujoco
import numpy as np
from tandem.drivers.sim.gl import require_backend, why_not
from tandem.drivers.sim.scene import CAMERAS
from tandem.runtime.errors import ConfigError

_LAMP_DIFFUSE = np.full(3, 0.5)
_HEAD_DIFFUSE = np.full(3, 0.42)
_HEAD_AMBIENT = np.full(3, 0.36)


class SceneRenderer:
    """Draws a model's data through its cameras. Belongs to the thread that made it."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        """
        Raises:
            DeviceError: nothing can be rendered here; the message names the packages to install.
        """
        require_backend()
        self._model = model
        try:
            self._renderer = mujoco.Renderer(model, height, width)
        except Exception as error:  # each backend fails in a class of its own
            raise why_not(error) from error
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0

    def render(self, data: mujoco.MjData, camera: str, out: np.ndarray | None = None) -> np.ndarray:
        """[H, W, 3] uint8 RGB, into `out` if given. `data` must have been through mj_kinematics."""
        if camera not in CAMERAS:
            raise ConfigError(
                f"the simulated cell has no camera {camera!r}; it has {', '.join(CAMERAS)}"
            )
        self._renderer.update_scene(data, camera=camera)
        image: np.ndarray = self._renderer.render(out=out)
        return image

    def close(self) -> None:
        self._renderer.close()


def set_light(model: mujoco.MjModel, light: np.ndarray) -> None:
    """Tint and dim the lamp and the headlight; `light` [3] is 1 for the normal cell."""
    model.light_diffuse[0] = _LAMP_DIFFUSE * light
    model.vis.headlight.diffuse[:] = _HEAD_DIFFUSE * light
    model.vis.headlight.ambient[:] = _HEAD_AMBIENT * light
