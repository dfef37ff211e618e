"""The executor again: the same ticks, late as they were, hearing what was said, seeing that arm.

What it decided is compared tick by tick: mode, epoch, fault, plan, pace and gripper as published,
and its knots by the path that an arm makes of them (tools/replay/arm.py), at the very stamps at
which the arm told where its set-point was. Chunks, tasks, the operator's commands and requests are
heard in the ticks in which they were.

Not recorded, so told as a difference should it ever decide: that a driver refused a knot, or told
of an error or of numbers that are not finite.
"""

from dataclasses import replace as with_values

from tandem.runtime import streams
from tandem.runtime.app import build
from tandem.runtime.app.motion import executor_settings
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError
from tandem.runtime.executor import Executor
from tandem.runtime.messages import Request, RobotState
from tandem.runtime.streams import Stream
from tandem.tools.record.reader import Recording
from tandem.tools.replay.arm import BeatClock, RecordedArm
from tandem.tools.replay.beats import Moment, Moments, stream_of
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
    "t_due_ns",
    "t_wake_ns",
)
PATH_RAD = 1e-6  # two machines' arithmetic apart, and far below what any arm can tell
_SETTLE_TICKS = 20  # until the arm's first knots have taken over from where it stood


def replay(recording: Recording, settings: Config, tolerance: float = 0.0) -> Verdict:
    """Tick through the recording; `tolerance` in rad is of the path, 0 means 1e-6.

    Raises:
        ConfigError: a hole, or something that the executor saw and nobody recorded.
    """
    stream = stream_of(recording, settings.executor.rate_hz)
    refuse_holes(recording, "chunk", "task", "operator", "event", stream.name)
    verdict, moments = Verdict("executor", max(tolerance, PATH_RAD)), Moments(recording, stream)
    replayed, last_seq = None, -1
    for moment in moments:
        if replayed is None or moment.state.seq < last_seq:  # the executor was started (again)
            replayed = _Replayed(settings, stream, moment.state, verdict)
        replayed.tick(moment)
        last_seq = moment.state.seq
    if not verdict.compared:
        raise ConfigError(f"{recording.path} holds no tick in which the executor held the arm")
    if moments.unheard:
        verdict.notes.append(f"{moments.unheard} first commands of an operator were not recorded")
    return verdict


class _Replayed:
    """One life of the executor; `first` is the state of its first recorded tick."""

    def __init__(
        self, settings: Config, stream: Stream, first: RobotState, verdict: Verdict
    ) -> None:
        spec = build.arm_model(settings).spec
        values = with_values(
            executor_settings(settings, spec), tell_every_tick=stream is streams.BEAT
        )
        self._period_ns = round(NS_PER_S / values.rate_hz)
        self._verdict = verdict
        self._due_ns = self._done_ns = first.t_due_ns - self._period_ns  # of the tick before
        self._clock = BeatClock(self._due_ns)
        self._arm = RecordedArm(spec, self._clock, first)
        self._bus = ReplayBus("executor", stream)
        self._silent_ns = self._slept_ns = 0
        self._executor = Executor(
            self._arm,
            self._bus,
            self._clock,
            values,
            lambda now_ns: self._silent_ns,
            lambda: self._slept_ns,
        )
        self._clients = {name: self._bus.client(name) for name in ("executor", "executor-stop")}
        self._ticks = 0
        self._alike = -1  # the tick since which both are in step

    def tick(self, moment: Moment) -> None:
        """The tick again, and what it decides compared."""
        state = moment.state
        skipped = state.t_due_ns - self._due_ns > self._period_ns
        self._clock.begin(state.t_due_ns if skipped else self._done_ns, state.t_wake_ns)
        self._due_ns, self._done_ns = state.t_due_ns, state.t_done_ns
        self._arm.show(state)
        self._silent_ns = sum(state.heard.get("silence", []))
        self._slept_ns += sum(state.heard.get("asleep", []))
        if "end" in state.heard:
            self._executor.end()
        for stream, said in moment.said:
            self._bus.give(stream, *said)
        for request in moment.asked:
            self._ask(request)
        self._executor.step()
        told = self._bus.take()
        self._judge(state, told[-1] if told else None)
        self._ticks += 1

    def _ask(self, request: Request) -> None:
        if not request.t_ns:  # nobody asked: the operator's link was closed
            self._bus.hang_up(streams.OPERATOR)
            return
        where = "executor-stop" if request.verb == "stop" else "executor"
        self._clients[where].send(request)

    def _judge(self, recorded: RobotState, replayed: RobotState | None) -> None:
        if self._alike < 0:
            self._fall_in_step(recorded)
            return
        self._verdict.compare(recorded, replayed, FIELDS)
        if self._ticks - self._alike > _SETTLE_TICKS:
            self._verdict.near("path", recorded, recorded.q_cmd, self._arm.path_q)

    def _fall_in_step(self, recorded: RobotState) -> None:
        """A recording begins a moment after the executor: both hold, then they count alike."""
        executor = self._executor
        if recorded.mode == executor.mode == "hold" and executor.setpoint.last.is_rest():
            executor.epoch = recorded.epoch
            self._alike = self._ticks
        elif recorded.mode not in ("idle", "hold"):
            raise ConfigError("the recording begins in motion: how it came to that is not in it")
