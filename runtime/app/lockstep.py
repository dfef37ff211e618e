"""A whole daemon in one process on a virtual clock: the same loops, faster than real time.

What took time on the robot takes the time that `Delays` says, so decisions come as late as they do
there, and the same seed gives the same run. Simulated arms only: a real one keeps its own clock.
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tandem.runtime.action_space import space_of
from tandem.runtime.app import build, motion
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, VirtualClock
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError, RefusedError
from tandem.runtime.executor import Executor, TickRecord
from tandem.runtime.images import FrameBox
from tandem.runtime.interfaces import Arm, Camera, CameraSpec, S1Policy, S2Policy
from tandem.runtime.local_bus import LocalBus
from tandem.runtime.messages import Reply, Request, RobotState
from tandem.runtime.s1 import S1Loop
from tandem.runtime.s2 import S2Loop
from tandem.runtime.summary import Summary
from tandem.runtime.taskdesk import TaskDesk
from tandem.runtime.telemetry import Collector

_ANSWER_TICKS = 5
_LOOK_NS = 100 * NS_PER_MS


@dataclass(frozen=True)
class Delays:
    """How long each part takes; defaults as measured on two cores of a server."""

    camera_ns: int = 12 * NS_PER_MS  # from mid-exposure to the frame that others can read
    s2_ns: int = 60 * NS_PER_MS
    s1_ns: int = 5 * NS_PER_MS


class CameraFeed:
    """One camera on its grid; a frame is seen `delay_ns` after it was taken."""

    def __init__(self, camera: Camera, now_ns: int, delay_ns: int) -> None:
        self.box = FrameBox(camera.spec)
        self._camera, self._delay_ns, self._due_ns = camera, delay_ns, now_ns
        self._period_ns = round(NS_PER_S / camera.spec.rate_hz)
        self._shape = (camera.spec.height, camera.spec.width, 3)
        self._on_the_way: deque[tuple[int, np.ndarray]] = deque()

    def tick(self, now_ns: int) -> None:
        if now_ns >= self._due_ns:
            self._due_ns += self._period_ns
            image = np.empty(self._shape, np.uint8)
            self._on_the_way.append((self._camera.read(image, self._period_ns), image))
        while self._on_the_way and self._on_the_way[0][0] + self._delay_ns <= now_ns:
            t_capture_ns, image = self._on_the_way.popleft()
            self.box.put(image, t_capture_ns)


class Lockstep:
    """`go(instruction)`, then `advance(seconds)`; `world` and `summary` show what came of it.

    `bus.named("…")` gives an observer ports of its own.

    Policies may be given ready made, to be shared by many runs. Only cameras that a policy looks at
    are drawn.

    Raises:
        ConfigError: the arm is not simulated.
        WeightsError: a policy's weights are missing or do not fit together.
    """

    def __init__(
        self,
        config: Config,
        seed: int | None = None,
        delays: Delays | None = None,
        s1: S1Policy | None = None,
        s2: S2Policy | None = None,
        black_box: Path | None = None,
    ) -> None:
        self.config = config
        self.clock = VirtualClock()
        self.delays = delays or Delays()
        self.bus = LocalBus("supervisor")
        self._build_cell(config.sim.seed if seed is None else seed, black_box)
        self._desk = TaskDesk(self.bus)
        self._collector = Collector(self.bus.named("watcher"), self.clock)
        self._look_ns = 0
        self._build_minds(s1, s2)
        arm = self._make_arm()
        arm.connect()
        settings = motion.executor_settings(config, arm.spec)
        bus = self.bus.named("executor")
        self.executor = Executor(arm, bus, self.clock, settings, asleep_ns=lambda: 0)

    def _build_cell(self, seed: int, black_box: Path | None) -> None:
        """Make `world` and `cell`; who brings a cell of another kind overrides this, and how its
        arm and cameras are made."""
        if self.config.robot.arm.driver != "sim":
            raise ConfigError("lockstep needs robot.arm.driver: sim; a real arm keeps its own time")
        from tandem.drivers.sim.blackbox import BlackBox
        from tandem.drivers.sim.lockstep import LockstepCell
        from tandem.drivers.sim.world import World

        size_px = max((max(c.size) for c in self.config.cameras.values()), default=128)
        self.world = World(seed, self.config.sim.cubes, render_size=size_px)
        box = BlackBox(black_box, round(self.world.step_s * NS_PER_S)) if black_box else None
        self.cell = LockstepCell(self.world, self.clock, box)

    def _make_arm(self) -> Arm:
        from tandem.drivers.sim.lockstep import LockstepArm

        return LockstepArm(self.cell)

    def _make_camera(self, spec: CameraSpec) -> Camera:
        from tandem.drivers.sim.lockstep import LockstepCamera

        return LockstepCamera(self.cell, spec)

    def _build_minds(self, s1: S1Policy | None, s2: S2Policy | None) -> None:
        given1, given2 = self.config.s1, self.config.s2
        if s2 is None and given2 is not None:
            s2 = build.s2_policy(given2, build.arm_model(self.config).spec)
        if s1 is None and given1 is not None:
            s1 = build.s1_policy(given1, build.arm_model(self.config).spec)
        self._minds: list[Callable[[int], None]] = []
        self._build_cameras({*(s2.spec.cameras if s2 else ()), *(s1.spec.cameras if s1 else ())})
        boxes = {name: feed.box for name, feed in self.cameras.items()}
        if s2 is not None and given2 is not None:
            bus, delay_ns = self.bus.named("s2"), self.delays.s2_ns
            loop2 = S2Loop(s2, boxes, bus, self.clock, given2.rate_hz, delay_ns)
            self._minds.append(loop2.tick)
        if s1 is not None and given1 is not None:
            bus, delay_ns = self.bus.named("s1"), self.delays.s1_ns
            space = space_of(s1.spec.action, build.arm_model(self.config).spec)
            every = given1.replan_every
            loop1 = S1Loop(s1, boxes, bus, self.clock, every, delay_ns, space=space)
            self._minds.append(loop1.tick)

    def _build_cameras(self, wanted: set[str]) -> None:
        self.cameras: dict[str, CameraFeed] = {}
        for name in sorted(wanted & set(self.config.cameras)):
            spec = build.camera_spec(name, self.config.cameras[name])
            camera = self._make_camera(spec)
            self.cameras[name] = CameraFeed(camera, self.clock.now_ns(), self.delays.camera_ns)

    # -- time --------------------------------------------------------------------------------------

    def step(self) -> TickRecord:
        """One tick of the executor, and of everyone whose turn it is then."""
        record = self.executor.step()
        now_ns = self.clock.now_ns()
        for feed in self.cameras.values():
            feed.tick(now_ns)
        for tick in self._minds:
            tick(now_ns)
        self._desk.refresh(now_ns)
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + _LOOK_NS
            self._collector.poll()
        return record

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end_ns = self.clock.now_ns() + round(seconds * NS_PER_S)
        while self.clock.now_ns() < end_ns:
            self.step()

    # -- what a person would do --------------------------------------------------------------------

    def go(self, instruction: str, timeout_s: float = 3.0) -> None:
        """Engage, and let time pass until the policy drives.

        Raises:
            RefusedError: the executor refuses, or no plan that starts here came in time.
        """
        if self.state is None:
            self.advance(0.1)
        self._desk.set_instruction(instruction, self.clock.now_ns())
        self._ask(Request(verb="go", text=instruction, t_ns=self.clock.now_ns()))
        end_ns = self.clock.now_ns() + round(timeout_s * NS_PER_S)
        while self.executor.mode != "policy":
            self.step()
            if self.clock.now_ns() > end_ns:
                why = self.state.holding_for if self.state else None
                raise RefusedError(f"not engaged within {timeout_s:g} s: {why or 'no plan came'}")

    def hold(self) -> None:
        self._ask(Request(verb="hold", t_ns=self.clock.now_ns()))

    def reset(self, seed: int, cubes: int | None = None) -> dict[str, Any]:
        """A fresh scene, with the arm at its start; returns the lay-out."""
        self.hold()
        return self.sim("reset", seed=seed, cubes=self.config.sim.cubes if cubes is None else cubes)

    def sim(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Ask the simulated cell, as its process would be asked; RefusedError if it will not."""
        text = json.dumps({"do": do, **arguments})
        reply = self.cell.answer(Request(verb="sim", text=text, valid=True))
        if not reply.ok:
            raise RefusedError(reply.text)
        return reply.data

    def _ask(self, question: Request) -> Reply:
        self._desk.send(question)
        for _ in range(_ANSWER_TICKS):
            self.step()
            reply = self._desk.poll()
            if reply is not None:
                if not reply.ok:
                    raise RefusedError(reply.text)
                return reply
        raise RefusedError(f"the executor did not answer {question.verb}")

    # -- what came of it ---------------------------------------------------------------------------

    @property
    def state(self) -> RobotState | None:
        """As last published by the executor."""
        return self._collector.summary.state.newest

    def summary(self) -> Summary:
        """Everything that the loops said of themselves so far."""
        return self._collector.poll()

    def close(self) -> None:
        self.world.close()
        self.bus.close()
