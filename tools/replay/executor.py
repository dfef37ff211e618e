"""The executor again: the same ticks, late as they were, hearing what was said, seeing that arm.

What it decided is compared tick by tick: mode, epoch, fault, plan, pace and gripper as published,
and its knots by the path that an arm makes of them (quintics, drivers/sim/follow.py), at the very
stamps at which the arm told where its set-point was.

Chunks and requests are heard in the ticks in which they were; of the operator's commands only the
arrival is known, which may be one tick off: while an operator drives, paths are alike, not equal.
"""

from collections.abc import Iterator

import numpy as np
from tandem.drivers.sim.follow import Follower, SetPoint
from tandem.runtime import streams
from tandem.runtime.app import build
from tandem.runtime.app.motion import executor_settings
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError, DeviceTimeoutError
from tandem.runtime.executor import Executor
from tandem.runtime.interfaces import ArmSpec, ArmState, Knot
from tandem.runtime.messages import ActionChunk, Message, OperatorCommand, Request, RobotState
from tandem.tools.record.reader import Entry, Recording
from tandem.tools.replay.beats import Ticks
from tandem.tools.replay.feed import ReplayBus
from tandem.tools.replay.source import refuse_holes
from tandem.tools.replay.verdict import Verdict

FIELDS = (
    "mode",
    "epoch",
    "fault",
    "holding_for",
    "operator",
    "chunk_seq",
    "conditioning_seq",
    "t_capture_ns",
    "pace",
    "gripper_cmd",
)
PATH_RAD = 1e-6  # two machines' arithmetic apart, and far below what any arm can tell
_NEVER = -1  # the tick of what was not looked at
_SETTLE_TICKS = 20  # until the arm's first knots have taken over from where it stood


class BeatClock:
    """Time as the executor had it: a sleep ends when that tick woke."""

    def __init__(self, t_ns: int) -> None:
        self._t_ns = t_ns
        self._wake_ns = t_ns

    def begin(self, t_ns: int, wake_ns: int) -> None:
        """The tick before ended at `t_ns`, this one wakes at `wake_ns`."""
        self._t_ns, self._wake_ns = max(self._t_ns, t_ns), wake_ns

    def now_ns(self) -> int:
        return self._t_ns

    def sleep_until(self, t_ns: int) -> None:
        self._t_ns = max(self._t_ns, self._wake_ns)


class Path(Follower):
    """The path that the arm makes of knots, as often interrupted as the real one was."""

    def leave(self, state: RobotState) -> None:
        """The arm braked by itself, or was put elsewhere: from where it then was."""
        self._segments.clear()
        there = SetPoint(state.q_cmd, state.dq_cmd, state.ddq_cmd, self.now.gripper)
        self._brake_from(there, state.t_ns)
        self._t_ns, self.underruns = state.t_ns, state.underruns


class RecordedArm:
    """Shows what the real one showed; follows the knots it is sent on a path of its own."""

    def __init__(self, spec: ArmSpec, clock: BeatClock, first: RobotState) -> None:
        self.spec, self._clock = spec, clock
        self._shown: RobotState | None = None
        self._read_ns = 0
        self._path = Path(spec, first.q_cmd, first.t_ns)
        self._path.underruns = first.underruns

    def show(self, state: RobotState) -> None:
        """Before each tick. Where the real arm left its knots, the path goes on from there."""
        self._shown = state
        self._path.blocked = state.arm_status not in ("idle", "moving")
        if state.underruns != self._path.underruns:
            self._path.leave(state)

    def connect(self) -> None:
        """It is there."""

    def read(self, timeout_ns: int) -> ArmState:
        """Raises DeviceTimeoutError: in this tick it told nothing new."""
        state = self._shown
        if state is None or state.t_ns == self._read_ns:
            raise DeviceTimeoutError("the arm told nothing in this tick")
        self._read_ns = state.t_ns
        return ArmState(
            t_ns=state.t_ns,
            q=state.q,
            dq=state.dq,
            tau=state.tau,
            q_d=state.q_cmd,
            dq_d=state.dq_cmd,
            ddq_d=state.ddq_cmd,
            width_m=state.width_m,
            status=state.arm_status,
            error=state.arm_error,
            underruns=state.underruns,
            coasting=state.coasting,
        )

    def send(self, knot: Knot) -> None:
        self._path.offer(knot, self._clock.now_ns())

    def stop(self) -> None:
        """Nothing moves here."""

    def recover(self) -> None:
        """What the real one did then is in the states that it shows."""

    def path_at(self, t_ns: int) -> np.ndarray:
        """[D] rad; times must not go back."""
        return self._path.advance(t_ns).q


class Inputs:
    """What was said, for the tick in which the executor heard it."""

    def __init__(self, recording: Recording, ticks: Ticks) -> None:
        self._wakes, self._ticks = ticks.wake_ns, ticks
        self._of_tick: dict[int, list[tuple[str, Message]]] = {}
        for entry in recording.entries("chunk", "task", "operator", "event"):
            for message in _heard(entry):
                self._of_tick.setdefault(self._tick_of(entry, message), []).append(
                    (entry.stream, message)
                )

    def at(self, tick: int) -> Iterator[tuple[str, Message]]:
        yield from self._of_tick.get(tick, ())

    def _tick_of(self, entry: Entry, message: Message) -> int:
        match message:
            case ActionChunk() if message.seq in self._ticks.joined:
                return self._ticks.joined[message.seq]
            case OperatorCommand():
                return self._tick_at(entry.arrival_ns)
            case ActionChunk() if self._ticks.passed_over(self._tick_at(message.t_ns)):
                return _NEVER
            case _:  # an event names its tick; a task is there long before it matters
                return self._tick_at(message.t_ns)

    def _tick_at(self, t_ns: int) -> int:
        """The first tick that woke at or after a time."""
        return int(np.searchsorted(self._wakes, t_ns))


def _heard(entry: Entry) -> list[Message]:
    """The message itself; of events those that tell of a request, as that request."""
    if entry.stream != "event":
        return [entry.message]
    event = entry.message
    if entry.source != "executor" or event.kind != "request":
        return []
    asked = {"verb": event.data["verb"], "text": event.data["text"]}
    return [Request(**asked, t_ns=event.t_ns, valid=True)]


def replay(recording: Recording, settings: Config, tolerance: float = 0.0) -> Verdict:
    """Tick through the recording; `tolerance` in rad is of the path, 0 means 1e-6.

    Raises:
        ConfigError: a hole, or something that the executor saw and nobody recorded.
    """
    refuse_holes(recording, "chunk", "task", "operator", "state")
    ticks = Ticks(recording)
    verdict = Verdict("executor", max(tolerance, PATH_RAD))
    _Replayed(settings, ticks, Inputs(recording, ticks), verdict).run()
    if ticks.driven:
        verdict.notes.append("an operator drove: in which tick a command was heard is not recorded")
    return verdict


class _Replayed:
    def __init__(self, settings: Config, ticks: Ticks, inputs: Inputs, verdict: Verdict) -> None:
        first = next(iter(ticks))
        spec = build.arm_model(settings).spec
        values = executor_settings(settings, spec)
        self._period_ns = round(NS_PER_S / values.rate_hz)
        self._ticks, self._inputs, self._verdict = ticks, inputs, verdict
        self._began_ns = first.due_ns - self._period_ns  # of the grid: one before the first tick
        self._clock = BeatClock(self._began_ns)
        self._arm = RecordedArm(spec, self._clock, first.state)
        self._bus = ReplayBus("executor")
        self._executor = Executor(self._arm, self._bus, self._clock, values, asleep_ns=lambda: 0)
        self._clients = {name: self._bus.client(name) for name in ("executor", "executor-stop")}
        self._alike = -1  # the tick since which both are in step

    def run(self) -> None:
        due_ns = done_ns = self._began_ns
        for k, beat in enumerate(self._ticks):
            skipped = beat.due_ns - due_ns > self._period_ns
            self._clock.begin(beat.due_ns if skipped else done_ns, beat.wake_ns)
            self._arm.show(beat.state)
            for stream, message in self._inputs.at(k):
                self._say(stream, message)
            self._executor.step()
            said = self._bus.take(streams.STATE)
            self._judge(k, beat.state, said[-1] if said else None)
            due_ns, done_ns = beat.due_ns, beat.done_ns

    def _say(self, stream: str, message: Message) -> None:
        if isinstance(message, Request):
            where = "executor-stop" if message.verb == "stop" else "executor"
            self._clients[where].send(message)
        else:
            self._bus.give(streams.STREAMS[stream], message)

    def _judge(self, k: int, recorded: RobotState, replayed: RobotState | None) -> None:
        path = self._arm.path_at(recorded.t_ns)
        if self._alike < 0:
            self._fall_in_step(k, recorded)
            return
        self._verdict.compare(recorded, replayed, FIELDS)
        if k - self._alike > _SETTLE_TICKS:
            self._verdict.near("path", recorded, recorded.q_cmd, path)

    def _fall_in_step(self, k: int, recorded: RobotState) -> None:
        """A recording begins a moment after the executor: both hold, then they count alike."""
        executor = self._executor
        if recorded.mode == executor.mode == "hold" and executor.setpoint.last.is_rest():
            executor.epoch = recorded.epoch
            self._alike = k
        elif recorded.mode not in ("idle", "hold"):
            raise ConfigError("the recording begins in motion: how it came to that is not in it")
