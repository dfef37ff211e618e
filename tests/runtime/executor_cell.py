"""An executor in lockstep, its arm, and everybody who talks to it.

The arm is the fake one, which follows knots by the laws of the simulated plant and keeps what it
followed in every millisecond; time is virtual; messages go over the bus that lockstep runs use.
"""

import numpy as np
from tandem.drivers.fake import FakeArm
from tandem.runtime import arm_file, config, streams
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, VirtualClock
from tandem.runtime.executor import Executor, ExecutorSettings, TickRecord
from tandem.runtime.local_bus import LocalBus
from tandem.runtime.messages import ActionChunk, OperatorCommand, Reply, Request, RobotState, Task
from tandem.runtime.setpoint import MotionSettings

MODEL = arm_file.load(config.PACKAGED / "limits" / "panda.yaml")
SPEC, HOME, D = MODEL.spec, MODEL.home_q, len(MODEL.home_q)
H, DT_NS = 16, 50 * NS_PER_MS
MOTION = MotionSettings(tool_speed_m_s=0.6)
SETTINGS = ExecutorSettings(motion=MOTION)


class Cell:
    """An executor, its arm, and everybody who talks to it, in one virtual time."""

    def __init__(
        self, given: ExecutorSettings = SETTINGS, spec=SPEC, home=HOME, trace: bool = True
    ) -> None:
        self.clock = VirtualClock()
        self.arm = FakeArm(spec, home, self.clock, trace)
        self.arm.connect()
        bus = LocalBus("supervisor")
        self.silence_ns = self.asleep_ns = 0
        self.executor = Executor(
            self.arm,
            bus.named("executor"),
            self.clock,
            given,
            lambda now_ns: self.silence_ns,
            lambda: self.asleep_ns,
        )
        self._tasks = bus.publisher(streams.TASK)
        self._chunks = bus.named("s1").publisher(streams.CHUNK)
        self._operator = bus.named("teleop").publisher(streams.OPERATOR)
        self._states = bus.subscriber(streams.STATE, "executor", conflate=False)
        self._events = bus.subscriber(streams.EVENT, "executor", conflate=False)
        self._ticks = bus.subscriber(streams.TICK, "executor", conflate=False)
        self._client, self._stopper = bus.client("executor"), bus.client("executor-stop")
        self.states: list[RobotState] = []
        self.records: list[TickRecord] = []
        self.instruction_id = 0

    # -- time --

    def tick(self, ticks: int = 1) -> TickRecord:
        for _ in range(ticks):
            self.records.append(self.executor.step())
            self.states += self._states.poll()
        return self.records[-1]

    def stall(self, seconds: float) -> None:
        """The executor does not get the CPU for so long."""
        self.clock.sleep_until(self.clock.now_ns() + round(seconds * NS_PER_S))

    def until(self, mode: str, ticks: int = 400) -> None:
        for _ in range(ticks):
            if self.mode == mode:
                return
            self.tick()
        raise AssertionError(f"not {mode} but {self.mode}: {self.state.holding_for}")

    # -- what others say --

    def ask(self, verb: str, text: str = "") -> Reply:
        client = self._stopper if verb == "stop" else self._client
        client.send(Request(verb=verb, text=text, t_ns=self.clock.now_ns()))
        self.tick()
        return client.poll()

    def task(self, instruction: str = "move") -> None:
        self.instruction_id += 1
        self._tasks.send(
            Task(instruction=instruction, instruction_id=self.instruction_id, epoch=0, valid=True)
        )

    def chunk(self, actions: np.ndarray, **fields) -> ActionChunk:
        """Publish a chunk planned from the newest state."""
        known = {
            "t0_ns": self.state.t_ns,
            "dt_ns": DT_NS,
            "epoch": self.state.epoch,
            "instruction_id": self.instruction_id,
            "t_ns": self.clock.now_ns(),
            "valid": True,
        }
        made = ActionChunk(actions=np.asarray(actions, float), **(known | fields))
        self._chunks.send(made)
        return made

    def operate(self, velocity=None, frame: str = "joint", **fields) -> None:
        size = D if frame == "joint" else 6
        velocity = np.zeros(size) if velocity is None else np.asarray(velocity, float)
        known = {"lease": "ann", "want": "drive", "deadman": True, "frame": frame}
        known |= {"velocity": velocity, "t_ns": self.clock.now_ns(), "valid": True}
        self._operator.send(OperatorCommand(**(known | fields)))

    # -- what is there --

    @property
    def mode(self) -> str:
        return self.executor.mode

    @property
    def state(self) -> RobotState:
        return self.states[-1]

    @property
    def now_s(self) -> float:
        return self.clock.now_ns() / NS_PER_S

    def events(self) -> list[str]:
        return [event.text for event in self._events.poll()]

    def gauges(self) -> dict[str, float]:
        return {k: v for tick in self._ticks.poll() for k, v in tick.gauges.items()}

    def samples(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for tick in self._ticks.poll():
            for name, values in tick.samples_ns.items():
                found.setdefault(name, []).extend(values.tolist())
        return found

    def followed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What the arm followed per millisecond: t_s [N], q, dq, ddq [N, D]."""
        t_ns, q, dq, ddq = zip(*self.arm.followed, strict=True)
        return np.array(t_ns) / NS_PER_S, np.array(q), np.array(dq), np.array(ddq)


def wave(t_s: np.ndarray, size: float = 0.25) -> np.ndarray:
    """[N, D] rad away from the middle: starts and stays gentle."""
    swing = np.sin(1.6 * t_s)[:, None] * np.clip(t_s / 1.5, 0, 1)[:, None] ** 2
    return size * swing * np.array([1, 0.6, 0.8, 0.6, 1, 0.8, 1])


class Mover:
    """A System 1 that plans a smooth wave every 200 ms, as it would over the wire."""

    def __init__(self, cell: Cell, every: int = 40, size: float = 0.25) -> None:
        self.cell, self.every, self.size = cell, every, size
        self.countdown = 0
        self.born_ns = 0  # when the conditioning behind the plans was published, 0: none
        self._begin_ns: int | None = None
        self._middle = HOME

    def tick(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.cell.tick()
            self.countdown -= 1
            if self.countdown <= 0 and self.cell.mode in ("hold", "policy"):
                self.countdown = self.every
                self.cell.chunk(self.plan(), t_conditioning_ns=self.born_ns)

    def plan(self) -> np.ndarray:
        state = self.cell.state
        if self._begin_ns is None or state.mode != "policy":
            self._begin_ns, self._middle = state.t_ns, state.q_cmd
        t_s = (state.t_ns - self._begin_ns) / NS_PER_S + 0.05 * np.arange(1, H + 1)
        return np.column_stack((self._middle + wave(t_s, self.size), np.ones(H)))


def engaged(
    given: ExecutorSettings = SETTINGS, seconds: float = 1.2, size: float = 0.25, trace: bool = True
) -> tuple[Cell, Mover]:
    """A cell whose policy has been moving for a while."""
    cell = Cell(given, trace=trace)
    cell.tick(3)
    cell.task()
    assert cell.ask("go", "move").ok
    mover = Mover(cell, size=size)
    mover.tick(round(seconds * 200))
    assert cell.mode == "policy"
    return cell, mover


def is_smooth(cell: Cell) -> None:
    """The law: at plant rate, nothing that the arm followed leaves the arm's own limits."""
    t_s, q, dq, ddq = cell.followed()
    dt_s = np.diff(t_s)[:, None]
    assert (q >= SPEC.q_min - 1e-6).all()
    assert (q <= SPEC.q_max + 1e-6).all()
    assert (abs(dq) <= SPEC.dq_max + 1e-6).all()
    assert (abs(ddq) <= SPEC.ddq_max + 1e-6).all()
    assert (abs(np.diff(q, axis=0)) <= SPEC.dq_max * dt_s + 1e-6).all()
    assert (abs(np.diff(dq, axis=0)) <= SPEC.ddq_max * dt_s + 1e-6).all()
    assert (abs(np.diff(ddq, axis=0)) <= SPEC.jerk_max * dt_s + 1e-6).all()
    assert cell.arm.counters["refused_knots"] == 0


def stands_at_home(cell: Cell) -> bool:
    return np.allclose(cell.state.q_cmd, HOME, atol=1e-12) and cell.state.dq_cmd.max() < 1e-9


def rest_ticks(cell: Cell) -> int:
    """Ticks until the set-point stands."""
    for ticks in range(200):
        if cell.executor.setpoint.last.is_rest():
            return ticks
        cell.tick()
    raise AssertionError("it never rests")


def seated(cell: Cell) -> Cell:
    """With ann holding the lease."""
    assert cell.ask("take_lease", "ann").data == {"lease": "ann"}
    return cell
