"""What the executor tells the world about itself: its state, its timing, and what happened."""

from dataclasses import dataclass, field

from tandem.runtime import streams
from tandem.runtime.chunks import counters
from tandem.runtime.clock import Beat
from tandem.runtime.interfaces import Arm, ArmState, Knot, Notice
from tandem.runtime.messages import ActionChunk, Mode, Reply, Request, RobotState
from tandem.runtime.pilot import Pilot
from tandem.runtime.ports import Bus
from tandem.runtime.telemetry import EventLog, Tap


@dataclass(frozen=True, slots=True)
class TickRecord:
    """What one tick did and when; telemetry is this return value."""

    beat: Beat
    sent_ns: int  # when Arm.send had returned, 0: nothing was sent
    done_ns: int
    mode: Mode
    epoch: int
    fault: str | None
    holding_for: str | None
    operator: str | None
    gripper: float  # command, 0 closed … 1 open
    knot: Knot | None
    started: ActionChunk | None  # the chunk whose first command this was
    heard: dict[str, list[int]] = field(default_factory=dict)  # stamps of what was taken in


class Journal:
    """Publishes state (at most at its stream's rate), telemetry and events; never waits.

    `every_tick`: the states in between go out, too, on a stream that only a recorder hears.
    `arm`: its driver's `counters` and `gauges` are told, too, if it has some.
    """

    def __init__(
        self,
        bus: Bus,
        rate_hz: float,
        every_tick: bool = False,
        arm: Arm | None = None,
    ) -> None:
        self._arm = arm
        self._states = bus.publisher(streams.STATE)
        self._tap = Tap("executor", rate_hz, bus.publisher(streams.TICK))
        self.events = EventLog("executor", bus.publisher(streams.EVENT))
        self._state_every = max(round(rate_hz / streams.STATE.rate_hz), 1)
        self._gauges_every = max(round(rate_hz / streams.TICK.rate_hz), 1)
        tells = every_tick and self._state_every > 1
        self._beats = bus.publisher(streams.BEAT) if tells else None

    def write(self, record: TickRecord, state: ArmState | None, pilot: Pilot) -> None:
        beat = record.beat
        if state is not None:
            self._tell(record, state, pilot)
        self._tap.tick(beat, record.done_ns - beat.wake_ns)
        self._tap.sample("wake", beat.lateness_ns)
        if record.sent_ns:
            self._tap.sample("send", record.sent_ns - beat.due_ns)
        if record.started is not None:
            self._latency(record.started, beat.wake_ns, record.sent_ns)
        if beat.index % self._gauges_every == 0:
            self._totals(pilot)
        self._tap.flush(record.done_ns)

    def asked(self, now_ns: int, request: Request, reply: Reply) -> None:
        """What somebody asked for decides, too: a recording without it could not be replayed."""
        words = f"{request.verb} {request.text}".strip()
        told = {"verb": request.verb, "text": request.text, "ok": reply.ok, "t_ns": request.t_ns}
        self.events.say(now_ns, "info", "request", f"{words}: {reply.text or 'done'}", told)

    def noted(self, now_ns: int, notice: Notice) -> None:
        """What the arm's driver has to say."""
        self.events.say(now_ns, notice.level, notice.kind, notice.text, notice.data)

    def count(self, name: str) -> None:
        """Something happened once more: underruns, interruptions, faults."""
        self._tap.count(name)

    def close(self, now_ns: int) -> None:
        self._tap.flush(now_ns, force=True)

    def _tell(self, record: TickRecord, state: ArmState, pilot: Pilot) -> None:
        if record.beat.index % self._state_every == 0:
            self._states.send(_robot_state(record, state, pilot))
        if self._beats is not None:
            self._beats.send(_robot_state(record, state, pilot))

    def _latency(self, chunk: ActionChunk, taken_ns: int, sent_ns: int) -> None:
        """From mid-exposure to the command, in the pieces that add up to it."""
        sample = self._tap.sample
        infer_ns = chunk.timings_ns.get("infer", 0)
        if chunk.t_conditioning_ns:
            sample("camera_s2", chunk.t_conditioning_ns - chunk.t_capture_ns)
            sample("s2_s1", chunk.t_ns - infer_ns - chunk.t_conditioning_ns)
        sample("s1", infer_ns)
        sample("s1_executor", taken_ns - chunk.t_ns)
        if chunk.t_capture_ns and sent_ns:
            sample("camera_command", sent_ns - chunk.t_capture_ns)

    def _totals(self, pilot: Pilot) -> None:
        for name, total in counters(pilot.plan.counts).items():
            self._tap.counter(name, total)
        for name, total in getattr(self._arm, "counters", {}).items():
            self._tap.counter(f"arm_{name}", total)
        for name, value in getattr(self._arm, "gauges", {}).items():
            self._tap.gauge(f"arm_{name}", value)
        for name, value in pilot.plan.seams.gauges().items():
            self._tap.gauge(name, value)
        self._tap.gauge("pace", pilot.progress.pace)


def _robot_state(record: TickRecord, state: ArmState, pilot: Pilot) -> RobotState:
    chunk = pilot.plan.chunk if record.mode == "policy" else None
    return RobotState(
        t_ns=state.t_ns,
        valid=True,
        q=state.q,
        dq=state.dq,
        tau=state.tau,
        q_cmd=state.q_d,
        dq_cmd=state.dq_d,
        ddq_cmd=state.ddq_d,
        gripper_cmd=record.gripper,
        width_m=state.width_m,
        mode=record.mode,
        epoch=record.epoch,
        fault=record.fault,
        holding_for=record.holding_for,
        pace=pilot.progress.pace if chunk else 0.0,
        operator=record.operator,
        chunk_seq=chunk.seq if chunk else -1,
        conditioning_seq=chunk.conditioning_seq if chunk else -1,
        t_capture_ns=chunk.t_capture_ns if chunk else 0,
        arm_status=state.status,
        arm_error=state.error,
        underruns=state.underruns,
        coasting=state.coasting,
        t_due_ns=record.beat.due_ns,
        t_wake_ns=record.beat.wake_ns,
        t_done_ns=record.done_ns,
        heard=record.heard,
    )
