"""The simulated cameras: each renders the plant's newest scene state in the camera process.

`t_capture_ns` is the stamp of the scene state that was drawn, so a picture is exactly as old as it
says. Rendering never touches the plant: a slow renderer costs frames, not physics.
"""

from pathlib import Path

import mujoco
import numpy as np
from tandem.drivers.sim import scene, wire
from tandem.drivers.sim.render import SceneRenderer, set_light
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock
from tandem.runtime.errors import ConfigError, DeviceTimeoutError
from tandem.runtime.images import Record
from tandem.runtime.interfaces import CameraSpec

LATENCY_NS = 10 * NS_PER_MS  # a scene state is at most 4 ms old, drawing takes 1 to 3 ms
_POLL_NS = NS_PER_MS
_STALE_NS = 100 * NS_PER_MS


def camera_spec(
    name: str, width: int = 128, height: int = 128, rate_hz: float = 30.0
) -> CameraSpec:
    """
    Raises:
        ConfigError: the cell has no such camera.
    """
    if name not in scene.CAMERAS:
        known = ", ".join(scene.CAMERAS)
        raise ConfigError(f"the simulated cell has no camera {name!r}; it has {known}")
    return CameraSpec(name, height, width, rate_hz, LATENCY_NS)


class SimCamera:
    """Implements runtime.interfaces.Camera. Belongs to the thread that first reads it."""

    spec: CameraSpec

    def __init__(self, runtime_dir: Path, spec: CameraSpec, clock: Clock | None = None) -> None:
        self.spec = spec
        self._clock = clock or MonotonicClock()
        self._model = mujoco.MjModel.from_xml_string(scene.scene_xml())
        self._data = mujoco.MjData(self._model)
        self._scene = wire.scene_ring(Path(runtime_dir), self._model.nq).reader()
        self._renderer: SceneRenderer | None = None
        self._period_ns = round(NS_PER_S / spec.rate_hz)
        self._last_ns = 0
        self._frame = 0  # frames are due at multiples of the period, the same for every camera

    def read(self, out: np.ndarray, timeout_ns: int) -> int:
        """Wait for the next frame's time, draw it into `out` [H, W, 3] uint8, return t_capture_ns.

        Raises:
            DeviceTimeoutError: no fresh scene state within `timeout_ns`.
            DeviceError: this machine cannot render; the message names the packages to install.
        """
        renderer = self._ready_renderer()
        deadline_ns = self._clock.now_ns() + timeout_ns
        self._wait_for_frame(deadline_ns)
        record = self._fresh_scene(deadline_ns)
        self._data.qpos[:] = record.payload["qpos"]
        set_light(self._model, record.payload["light"])
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        renderer.render(self._data, self.spec.name, out)
        return record.t_ns

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _ready_renderer(self) -> SceneRenderer:
        """Made once, before the scene is looked at: the first picture shall not be old."""
        if self._renderer is None:
            self._renderer = SceneRenderer(self._model, self.spec.height, self.spec.width)
            self._renderer.render(self._data, self.spec.name)
        return self._renderer

    def _wait_for_frame(self, deadline_ns: int) -> None:
        now_ns = self._clock.now_ns()
        following = max(self._frame + 1, now_ns // self._period_ns)  # skip what was missed
        due_ns = following * self._period_ns
        if due_ns > deadline_ns:
            raise DeviceTimeoutError(
                f"camera {self.spec.name} has its next frame in "
                f"{(due_ns - now_ns) / NS_PER_MS:.0f} ms; wait longer than one period"
            )
        self._frame = following
        self._clock.sleep_until(due_ns)

    def _fresh_scene(self, deadline_ns: int) -> Record:
        while True:
            record = self._scene.latest()
            now_ns = self._clock.now_ns()
            fresh = record is not None and now_ns - record.t_ns <= _STALE_NS
            if record is not None and fresh and record.t_ns > self._last_ns:
                self._last_ns = record.t_ns  # one moment is never shown as two frames
                return record
            if now_ns >= deadline_ns:
                raise DeviceTimeoutError(
                    f"camera {self.spec.name} sees no running simulator; start it with `tandem run`"
                )
            self._clock.sleep_until(min(now_ns + _POLL_NS, deadline_ns))
