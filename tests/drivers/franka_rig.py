"""An emulated Franka in a process of its own, and an executor that drives it through libfranka."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from tandem.drivers.franka.arm import FrankaArm
from tandem.drivers.franka.make import DRIVERS, VELOCITY
from tandem.drivers.franka.manner import Manner
from tandem.runtime import arm_file, config, streams
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, VirtualClock
from tandem.runtime.executor import Executor, ExecutorSettings, TickRecord
from tandem.runtime.local_bus import LocalBus
from tandem.runtime.messages import (
    ActionChunk,
    Event,
    OperatorCommand,
    Reply,
    Request,
    RobotState,
    Task,
)
from tandem.runtime.setpoint import MotionSettings
from tandem.tools.fci_emulator import desk
from tandem.tools.fci_emulator.process import fresh_host, serving

KINDS = {"fr3": "franka_fr3", "fer": "franka_fer"}
MODELS = {
    kind: arm_file.load(config.PACKAGED / "limits" / name)
    for kind, name in (("fr3", "fr3.yaml"), ("fer", "panda.yaml"))
}
BY_VELOCITY = {kind: VELOCITY[driver] for kind, driver in KINDS.items()}
PATIENCE_S = 20.0  # of a robot in lockstep with us, and ours with it
HORIZON, DT_NS = 16, 50 * NS_PER_MS
_RESETS = 5
_INSIDE_RAD = 0.05  # of its range a plan stays


class Rig:
    """A running emulator."""

    def __init__(self, host: str, kind: str, process: subprocess.Popen) -> None:
        self.host, self.kind, self.process = host, kind, process

    def report(self) -> dict:
        return desk.ask(self.host, PATIENCE_S, do="report")

    def restart(self) -> None:
        """Switched off and on."""
        desk.ask(self.host, PATIENCE_S, do="restart")

    def fault(self, kind: str, **how) -> int:
        """The robot's tick in which it happened."""
        return desk.ask(self.host, PATIENCE_S, do="fault", kind=kind, **how)["ticks"]

    def arm(self, clock=None, line=None, patience_s: float = 0.0) -> FrankaArm:
        """`patience_s`: a read may take so long on a crowded machine. So may every set-point: the
        robot's time waits.
        """
        line = line or DRIVERS[KINDS[self.kind]][0]
        manner = Manner(patience_ns=round(patience_s * NS_PER_S))
        line = partial(line, patience_ns=round(PATIENCE_S * NS_PER_S))
        if isinstance(clock, SkewedClock):
            line = partial(clock.line, line)
        return FrankaArm(MODELS[self.kind].spec, self.host, line, clock=clock, manner=manner)


@contextlib.contextmanager
def emulator(kind: str = "fr3", *options: str) -> Iterator[Rig]:
    """Started, answering; ended afterwards, whatever has become of it."""
    host = fresh_host()
    with serving(host, "--robot", kind, "--patience", str(PATIENCE_S), *options) as process:
        yield Rig(host, kind, process)


class SkewedClock:
    """A machine's clock beside a robot in lockstep whose own runs `speed` times as fast."""

    def __init__(self, speed: float) -> None:
        self._speed, self._t_ns, self._ticks = speed, NS_PER_S, None

    def now_ns(self) -> int:
        return round(self._t_ns)

    def sleep_until(self, t_ns: int) -> None:
        self._t_ns = max(self._t_ns, t_ns)

    def line(self, kind, host: str, **more):
        """A connection of this kind, whose states move the clock."""
        made = kind(host, **more)
        read = made.read

        def and_tick(timeout_ns: int):
            report = read(timeout_ns)
            passed = 1 if self._ticks is None else report.ticks - self._ticks
            self._ticks = report.ticks
            self._t_ns += passed * NS_PER_MS / self._speed
            return report

        made.read = and_tick
        return made


class Cell:
    """An executor on the robot's own time: every tick is one of the emulator's milliseconds."""

    def __init__(
        self,
        rig: Rig,
        given: ExecutorSettings | None = None,
        seed: int = 0,
        line=None,
        clock=None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.arm = rig.arm(self.clock, line, patience_s)
        self.arm.connect()
        bus = LocalBus("supervisor")
        motion = MotionSettings(tool_speed_m_s=1.0)
        given = given or ExecutorSettings(motion=motion, rate_hz=1000.0)
        self._rate_hz = given.rate_hz
        self.executor = Executor(
            self.arm, bus.named("executor"), self.clock, given, asleep_ns=lambda: 0
        )
        self._tasks = bus.publisher(streams.TASK)
        self._chunks = bus.named("s1").publisher(streams.CHUNK)
        self._states = bus.subscriber(streams.STATE, "executor", conflate=False)
        self._events = bus.subscriber(streams.EVENT, "executor", conflate=False)
        self._client = bus.client("executor")
        self._operator = bus.named("teleop").publisher(streams.OPERATOR)
        self._rng = np.random.default_rng(seed)
        self._middle = MODELS[rig.kind].home_q
        self._phase = self._rng.uniform(0, 2 * np.pi, 7)
        self._began_ns: int | None = None
        self._ahead = 0, np.zeros(7)  # the driver's set-point for the robot's next millisecond
        self.off_plan_rad = 0.0  # the robot's set-point, at most, from the path of the plans
        self.off_set_point_rad = 0.0  # and from the driver's own
        self.states: list[RobotState] = []
        self.events: list[str] = []
        self.told: list[Event] = []

    def tick(self, ticks: int = 1) -> TickRecord:
        for _ in range(ticks):
            record = self.executor.step()
            self.states += self._states.poll()
            said = self._events.poll()
            self.told += said
            self.events += [event.text for event in said]
        return record

    @property
    def mode(self) -> str:
        return self.executor.mode

    @property
    def state(self) -> RobotState:
        return self.states[-1]

    def lose_patience(self, patience_s: float) -> None:
        """From now on silence is measured on the machine's clock, all else on the robot's."""
        self.arm._manner = replace(self.arm._manner, patience_ns=round(patience_s * NS_PER_S))

    def until(self, mode: str, ticks: int = 3000) -> None:
        for _ in range(ticks):
            if self.mode == mode:
                return
            self.tick()
        raise AssertionError(f"not {mode} but {self.mode}: {self.state.holding_for}")

    def reset(self) -> None:
        """Until it holds. Again where it came too late: unheard, our time passes faster than a
        robot recovers."""
        for _ in range(_RESETS):
            self.ask("reset")
            with contextlib.suppress(AssertionError):
                self.until("hold", 6000)
                return
        raise AssertionError(f"no reset helps: {self.state.holding_for}")

    def ask(self, verb: str, text: str = "") -> Reply:
        self._client.send(Request(verb=verb, text=text, t_ns=self.clock.now_ns()))
        self.tick(2)
        return self._client.poll()

    def go(self) -> None:
        self.until("hold")
        self.tick(20)
        self._tasks.send(Task(instruction="move", instruction_id=1, epoch=0, valid=True))
        reply = self.ask("go", "move")
        assert reply.ok, reply.text

    def move(self, seconds: float, every: int = 200) -> None:
        """Follow plans that never end, one every `every` ticks, random in shape and speed."""
        for k in range(round(seconds * self._rate_hz)):
            if k % every == 0 and self.mode in ("hold", "policy"):
                self._plan()
            self.tick()
            self._measure()

    def _measure(self) -> None:
        report, (ticks, ahead) = self.arm._report, self._ahead
        q_d = report.q_d
        if report.ticks == ticks and self.mode == "policy":
            self.off_set_point_rad = max(self.off_set_point_rad, np.abs(q_d - ahead).max())
        tracker = self.arm._motion.tracker
        self._ahead = tracker.t_ns // NS_PER_MS, tracker.now.q
        if self._began_ns is not None and self.state.mode == "policy":
            t_s = np.array([(self.state.t_ns - self._began_ns) / NS_PER_S])
            off_rad = np.abs(q_d - self._path(t_s)[0]).max()
            self.off_plan_rad = max(self.off_plan_rad, off_rad)

    def steer(self, seconds: float) -> None:
        """An operator comes, and drives a joint after the other, to and fro."""
        self.ask("take_lease", "ann")
        self._operate("standby", np.zeros(7))
        self.tick(10)
        for k in range(round(seconds * 1000)):
            if k % 10 == 0:
                velocity = np.zeros(7)
                velocity[k // 100 % 7] = 0.2 * (-1) ** (k // 50)
                self._operate("drive", velocity)
            self.tick()

    def _operate(self, want: str, velocity: np.ndarray) -> None:
        self._operator.send(
            OperatorCommand(
                lease="ann",
                want=want,
                deadman=want == "drive",
                frame="joint",
                velocity=velocity,
                t_ns=self.clock.now_ns(),
                valid=True,
            )
        )

    def _plan(self) -> None:
        state = self.state
        if self._began_ns is None or state.mode != "policy":
            self._began_ns, self._start = state.t_ns, state.q_cmd
        t_s = (state.t_ns - self._began_ns) / NS_PER_S + 0.05 * np.arange(1, HORIZON + 1)
        actions = np.column_stack((self._path(t_s), np.ones(HORIZON)))
        self._chunks.send(
            ActionChunk(
                actions=actions,
                t0_ns=state.t_ns,
                dt_ns=DT_NS,
                epoch=state.epoch,
                instruction_id=1,
                t_ns=self.clock.now_ns(),
                valid=True,
            )
        )

    def _path(self, t_s: np.ndarray) -> np.ndarray:
        """[N, 7] rad: where the plans lead, `t_s` [N] after their beginning."""
        wave = np.sin(np.outer(t_s, np.linspace(0.7, 1.9, 7)) + self._phase) - np.sin(self._phase)
        path = self._start + 0.25 * np.clip(t_s / 2, 0, 1)[:, None] ** 2 * wave
        spec = self.arm.spec
        return np.clip(path, spec.q_min + _INSIDE_RAD, spec.q_max - _INSIDE_RAD)
