"""A whole daemon in one process, and an emulated Franka in another, in lockstep.

System 2, System 1, executor, driver and the vendor's library are the real ones; the robot's time
stands still until they have answered, so nothing is late on any machine, and every run of the same
seed sees the same.
"""

import contextlib
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tandem.drivers.franka import options
from tandem.drivers.franka.hand import FrankaHand
from tandem.drivers.franka.make import DRIVERS, assemble, line_kind
from tandem.drivers.franka.manner import Manner
from tandem.drivers.sim import blackbox
from tandem.drivers.sim.render import set_light
from tandem.drivers.sim.world import World
from tandem.runtime.app import build
from tandem.runtime.app.lockstep import Lockstep
from tandem.runtime.clock import NS_PER_S, Clock
from tandem.runtime.config import Config
from tandem.runtime.errors import DeviceError, RefusedError
from tandem.runtime.interfaces import Arm, Camera, CameraSpec, S1Policy, S2Policy
from tandem.runtime.messages import Reply, Request
from tandem.tools.fci_emulator.process import PATIENCE_S, Robot

_HEARD_S = 2.0
_BEATS = 200
_HOLD_TICKS = 10_000
_PLACED_TICKS = 100


class Mirror:
    """The robot's cell as seen from here: looks as a World does, and cannot be changed."""

    def __init__(self, robot: Robot, clock: Clock, size_px: int) -> None:
        self._robot, self._clock = robot, clock
        self._world = World(render_size=size_px)
        self._seen: dict[str, Any] = {}
        self._seen_ns = -1

    def truth(self) -> dict[str, Any]:
        return dict(self._look()["truth"])

    @property
    def q(self) -> np.ndarray:
        return np.array(self._look()["q"])

    def render(self, camera: str, out: np.ndarray | None = None) -> np.ndarray:
        """[H, W, 3] uint8 RGB of the cell as it is."""
        import mujoco  # not before drivers.sim, which chooses how it draws

        seen, world = self._look(), self._world
        world.data.qpos[:] = seen["qpos"]
        set_light(world.model, np.array(seen["light"]))
        mujoco.mj_kinematics(world.model, world.data)
        mujoco.mj_camlight(world.model, world.data)
        return world.render(camera, out)

    def close(self) -> None:
        self._world.close()

    def _look(self) -> dict[str, Any]:
        now_ns = self._clock.now_ns()
        if now_ns != self._seen_ns:
            self._seen, self._seen_ns = self._robot.ask("scene"), now_ns
        return self._seen


class _Cell:
    """What `Lockstep` asks of its cell, over the emulator's own port."""

    def __init__(self, robot: Robot, clock: Clock) -> None:
        self._robot, self._clock = robot, clock

    def answer(self, request: Request) -> Reply:
        t_ns = self._clock.now_ns()
        try:
            data = self._robot.ask("cell", ask=json.loads(request.text))
        except RefusedError as refusal:
            return Reply(ok=False, text=str(refusal), t_ns=t_ns, valid=True)
        return Reply(ok=True, data=data, t_ns=t_ns, valid=True)


class _Camera:
    """Implements runtime.interfaces.Camera."""

    def __init__(self, mirror: Mirror, spec: CameraSpec, clock: Clock) -> None:
        self.spec = spec
        self._mirror, self._clock = mirror, clock

    def read(self, out: np.ndarray, timeout_ns: int) -> int:
        self._mirror.render(self.spec.name, out)
        return self._clock.now_ns()

    def close(self) -> None:
        self._mirror.close()


class _Hand(FrankaHand):
    """Its process has the machine's time: the robot's stands still until a wish has arrived."""

    def __init__(self, robot: Robot, *words: Any) -> None:
        super().__init__(*words)
        self._robot = robot

    def want(self, opening: float) -> None:
        news = opening != self._wanted
        before = self._robot.ask("report") if news else {}
        super().want(opening)
        if not news or before["hand_busy"]:
            return  # it hears the newest wish when it is done
        deadline_s = time.monotonic() + _HEARD_S
        while self._robot.ask("report")["hand_requests"] == before["hand_requests"]:
            if time.monotonic() > deadline_s:
                return
            time.sleep(0.001)


class EmulatedLockstep(Lockstep):
    """As `Lockstep`, on a robot that is shared by the episodes, one after the other."""

    world: Any
    cell: Any

    def __init__(
        self,
        config: Config,
        robot: Robot,
        seed: int,
        s1: S1Policy | None = None,
        s2: S2Policy | None = None,
    ) -> None:
        self._robot = robot
        robot.ask("restart")
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            super().__init__(config, seed, s1=s1, s2=s2)
            self._come_to_hold(seed)
            super()._build_minds(*self._minded)
            stack.pop_all()

    def record(self) -> blackbox.Record:
        """What the robot was commanded since the scene was laid out, a row a millisecond."""
        found = blackbox.read(self._robot.box)
        ours = found.era == found.era[-1]
        return blackbox.Record(*(getattr(found, n)[ours] for n in found.__dataclass_fields__))

    def close(self) -> None:
        for part in ("_arm", "world", "bus"):
            if hasattr(self, part):
                getattr(self, part).close()

    # -- in place of the simulated arm -------------------------------------------------------------

    def _build_cell(self, seed: int, black_box: Path | None) -> None:
        size_px = max((max(c.size) for c in self.config.cameras.values()), default=128)
        self.world = Mirror(self._robot, self.clock, size_px)
        self.cell = _Cell(self._robot, self.clock)

    def _build_minds(self, s1: S1Policy | None, s2: S2Policy | None) -> None:
        """Later: their time begins with the scene, however long the robot took to engage."""
        self._minded, self._minds, self.cameras = (s1, s2), [], {}

    def _make_camera(self, spec: CameraSpec) -> Camera:
        return _Camera(self.world, spec, self.clock)

    def _make_arm(self) -> Arm:
        given, spec = self.config.robot.arm, build.arm_model(self.config).spec
        settings = ("collision", "load", "stiffness_nm_rad")
        told = options.settings(**{k: v for k, v in given.options.items() if k in settings})
        hand = partial(_Hand, self._robot, DRIVERS[given.driver][1], self._robot.host)
        manner = Manner(patience_ns=round(PATIENCE_S * NS_PER_S))
        kind = line_kind(given.driver, control=given.options.get("control", "joint_position"))
        self._arm = assemble(kind, spec, self._robot.host, told, manner, hand, self.clock)
        return self._arm

    def _come_to_hold(self, seed: int) -> None:
        """Let the robot be commanded first: from then on its time is ours alone.

        The scene is laid out at a beat that is the same in every run, as the executor tells of
        some beats and not of others.
        """
        self._until(lambda: self.executor.mode == "hold")
        while self.executor.step().beat.index % _BEATS:
            pass
        self.sim("reset", seed=seed, cubes=self.config.sim.cubes)
        for _ in range(_PLACED_TICKS):
            self.executor.step()
        self._until(lambda: self.executor.mode == "hold")

    def _until(self, condition: Callable[[], bool]) -> None:
        for _ in range(_HOLD_TICKS):
            if condition():
                return
            self.executor.step()
        raise DeviceError(f"the emulated robot does not hold: {self.executor.status()}")
