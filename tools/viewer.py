"""Streams cameras, arm, planned chunk and executed path to the Rerun viewer.

`python -m tandem.tools.viewer CONFIG [FILE.rrd]`, a process of its own. On a machine with a screen
it opens the viewer; without one it serves, for a viewer elsewhere; with a file it records.
"""

import os
import sys
from collections import deque
from pathlib import Path
from types import ModuleType

import numpy as np
from tandem.runtime import arm_file, config, streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import NS_PER_S, Grid, MonotonicClock
from tandem.runtime.errors import ConfigError
from tandem.runtime.images import ImageReader
from tandem.runtime.interfaces import ArmSpec
from tandem.runtime.kinematics import Chain
from tandem.runtime.messages import ActionChunk, Event, RobotState
from tandem.tools.observer import Watch, image_readers, observe

_RATE_HZ = 30.0
_TRAIL = 900  # half a minute
_PLANNED, _EXECUTED, _ARM = (255, 170, 0), (0, 160, 255), (210, 210, 215)


def missing() -> str | None:
    """Why there is no viewer, with the command that mends it; None if all is well."""
    try:
        import rerun  # noqa: F401
    except ImportError:
        return "--rerun needs the Rerun viewer: pip install rerun-sdk"
    return None


class Skeleton:
    """Where the joints and the tool are: one chain per length, for this is no hot code."""

    def __init__(self, spec: ArmSpec) -> None:
        lengths = range(1, len(spec.mdh) + 1)
        self._joints = [Chain(spec.mdh[:n], np.eye(4)) for n in lengths]
        self._tool = Chain(spec.mdh, spec.pose_tool_in_flange)

    def points_m(self, q: np.ndarray) -> np.ndarray:
        """[D + 2, 3]: base, joints, tool."""
        joints = [chain.position(q[: i + 1]) for i, chain in enumerate(self._joints)]
        return np.array([np.zeros(3), *joints, self.tool_m(q)])

    def tool_m(self, q: np.ndarray) -> np.ndarray:
        return self._tool.position(q)


class Viewer:
    """Sends what is new at each look; keeps the executed path."""

    def __init__(
        self, rerun: ModuleType, skeleton: Skeleton, cameras: dict[str, ImageReader]
    ) -> None:
        self._rr, self._skeleton, self._cameras = rerun, skeleton, cameras
        self._trail: deque[np.ndarray] = deque(maxlen=_TRAIL)
        self._seen = dict.fromkeys(cameras, -1)

    def show(self, state: RobotState | None, chunks: list[ActionChunk], t_ns: int) -> None:
        self._rr.set_time("t", duration=t_ns / NS_PER_S)
        self._show_images()
        for chunk in chunks:
            self._show_chunk(chunk)
        if state is not None:
            self._show_state(state)

    def tell(self, event: Event) -> None:
        level = {"info": "INFO", "warn": "WARN", "error": "ERROR"}[event.level]
        self._rr.log("events", self._rr.TextLog(f"{event.source}: {event.text}", level=level))

    def _show_images(self) -> None:
        for name, ring in self._cameras.items():
            frame = ring.latest()
            if frame is not None and frame.seq != self._seen[name]:
                self._seen[name] = frame.seq
                self._rr.log(f"cameras/{name}", self._rr.Image(frame.image))

    def _show_chunk(self, chunk: ActionChunk) -> None:
        joints = chunk.actions.shape[1] - 1  # the last dimension is the gripper
        path = np.array([self._skeleton.tool_m(q) for q in chunk.actions[:, :joints]])
        self._log_path("world/planned", path, _PLANNED)

    def _show_state(self, state: RobotState) -> None:
        rr = self._rr
        links = self._skeleton.points_m(state.q_cmd)
        self._trail.append(links[-1])
        self._log_path("world/arm", links, _ARM, radius_m=0.025)
        self._log_path("world/executed", np.array(self._trail), _EXECUTED)
        for i, (q, q_cmd) in enumerate(zip(state.q, state.q_cmd, strict=True), 1):
            rr.log(f"joints/measured/{i}", rr.Scalars(q))
            rr.log(f"joints/command/{i}", rr.Scalars(q_cmd))
        rr.log("mode", rr.TextDocument(f"{state.mode} {state.fault or state.holding_for or ''}"))

    def _log_path(
        self, name: str, points_m: np.ndarray, colour: tuple[int, int, int], radius_m: float = 0.004
    ) -> None:
        self._rr.log(name, self._rr.LineStrips3D([points_m], colors=[colour], radii=[radius_m]))


def open_viewer(rerun: ModuleType, file: Path | None) -> str:
    """Returns where the pictures go, in words."""
    rerun.init("tandem")
    if file is not None:
        rerun.save(file)
        return f"recording to {file}; open it with: rerun {file}"
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        rerun.spawn(memory_limit="1GB")
        return "in the Rerun window"
    address = rerun.serve_grpc(server_memory_limit="256MB")
    return f"no screen here; on one that has: rerun {address} (through ssh -L 9876:localhost:9876)"


def watch_daemon(settings: config.Config, file: Path | None, watch: Watch) -> None:
    problem = missing()
    if problem:
        raise ConfigError(problem)
    import rerun

    spec = arm_file.load(Path(settings.robot.limits.file)).spec
    viewer = Viewer(rerun, Skeleton(spec), image_readers(settings))
    bus = ZmqBus(settings.folder, "viewer")
    states = bus.subscriber(streams.STATE, "executor")
    chunks = bus.subscriber(streams.CHUNK, "s1")
    events = [
        bus.subscriber(streams.EVENT, name) for name in ("supervisor", "executor", "s1", "s2")
    ]
    where = open_viewer(rerun, file)
    watch.line.ready({"pictures": where})
    clock = MonotonicClock()
    grid = Grid(clock, _RATE_HZ)
    while watch.goes_on():
        grid.wait()
        states.poll()
        viewer.show(states.latest, chunks.poll(), clock.now_ns())
        for event in (e for port in events for e in port.poll()):
            viewer.tell(event)
    bus.close()


if __name__ == "__main__":
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    sys.exit(observe(lambda watch: watch_daemon(config.load(sys.argv[1]), target, watch)))
