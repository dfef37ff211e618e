"""The executor: reads the arm, decides, commands, publishes, once per tick. Nobody else commands.

The loop is synchronous and has one clock, one arm and one way out: a knot per tick, made by `Helm`
for whoever the mode lets steer. It never waits for anybody: what has arrived counts, what has not
is late. A tick sends first what the tick before has made, so that no computation delays a command;
then it makes the next from everything that has been said until now.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from tandem.runtime import streams
from tandem.runtime.clock import NS_PER_S, Beat, Clock, Grid
from tandem.runtime.desk import Answers, Desk, Wishes
from tandem.runtime.engage import Situation, refusals
from tandem.runtime.errors import SuspendedError
from tandem.runtime.helm import Helm
from tandem.runtime.interfaces import Arm, Knot
from tandem.runtime.journal import Journal, TickRecord
from tandem.runtime.link import ArmLink
from tandem.runtime.messages import ActionChunk, Level, Mode
from tandem.runtime.modes import Facts, decide
from tandem.runtime.ports import Bus, Subscriber
from tandem.runtime.realtime import ending_on_term, suspended_ns
from tandem.runtime.rehearsal import rehearse
from tandem.runtime.settings import ExecutorSettings
from tandem.runtime.streams import Stream
from tandem.runtime.vigil import Vigil

__all__ = ["Executor", "ExecutorSettings", "TickRecord"]

_RECOVERY_NS = 3 * NS_PER_S  # an arm's own controller needs a second or two to end its reflex
_BEATS_MISSED = 10  # of an arm that gives the beat, before we go on without


class Executor:
    """Owns mode, epoch, lease and faults. `step()` is one tick, `run()` all of them."""

    def __init__(
        self,
        arm: Arm,
        bus: Bus,
        clock: Clock,
        settings: ExecutorSettings | None = None,
        silence_ns: Callable[[int], int] = lambda now_ns: 0,
        asleep_ns: Callable[[], int] = suspended_ns,
    ) -> None:
        self.settings = settings = settings or ExecutorSettings()
        self.arm, self.clock = arm, clock
        self.mode: Mode = "idle"
        self.epoch = 0
        self.fault: str | None = None
        self.helm = Helm(arm.spec, settings)
        self.setpoint, self.pilot, self.seat = self.helm.setpoint, self.helm.pilot, self.helm.seat
        self.link = ArmLink(arm, clock, settings.arm_late_ns, settings.access != "move")
        self.journal = Journal(bus, settings.rate_hz, settings.tell_every_tick, arm)
        self._chunks = bus.subscriber(streams.CHUNK, "s1")
        self._operator = bus.subscriber(streams.OPERATOR, "teleop")
        self._tasks = bus.subscriber(streams.TASK, "supervisor")
        answers = Answers(self._refusals, self._standing, self._stopping, self.status)
        self.desk = Desk(bus.server("executor"), bus.server("executor-stop"), self.seat, answers)
        self.vigil = Vigil(settings, silence_ns, asleep_ns)
        self._paced = arm.spec.paced_by == "arm"
        self._period_ns = round(NS_PER_S / settings.rate_hz)
        ahead_ns = max(settings.lead_ticks * self._period_ns, settings.lead_min_ns)
        self._lead_ns = self._period_ns if self._paced else ahead_ns
        self._grid: Grid | None = None
        self._beats = 0
        self._interrupted: str | None = None  # why this tick does not simply continue the last
        self._heard: dict[str, list[int]] = {}  # stamps of what this tick took in, by stream
        self._joined: ActionChunk | None = None  # the plan, in this tick
        self._made: Knot | None = None  # by the tick before, for this one to send
        self._made_of: ActionChunk | None = None  # which joined with it
        self._at_rest = True  # of the command that was sent last
        self._why = "starting"  # of the last change of mode
        self._ending = False
        self._slept: str | None = None  # the computer was suspended: what the driver knows is old
        self._recovering_until_ns = 0  # a reset was asked for while the arm was in reflex

    # -- the story ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Tick until told to end and at rest. SIGTERM ends; SIGINT is for the supervisor.

        Raises:
            SuspendedError: only a new process, with a new connection to the arm, may go on.
        """
        rehearse(self.arm.spec, self.settings)
        with contextlib.closing(self), ending_on_term(self.end):
            while not self._done():
                self.step()
        if self._slept and not self._ending:
            raise SuspendedError(f"{self._slept}: the executor starts anew, in hold")

    def step(self) -> TickRecord:
        """Wait for the beat, read, send what is made; then listen, decide, make the next, tell."""
        beat = self._read()
        sent_ns = self._send()
        wishes = self._listen(beat.wake_ns)
        self._decide(wishes, beat.wake_ns)
        self._take_plans()
        knot, started = self._made, self._made_of
        self._made, self._made_of = self._command(beat), self._joined
        return self._publish(beat, knot if sent_ns else None, sent_ns, started)

    def end(self) -> None:
        """Come to rest, then let `run` return."""
        self._ending = True

    def close(self) -> None:
        self.arm.stop()
        self.journal.close(self.clock.now_ns())

    def _done(self) -> bool:
        if self.vigil.alone:
            self.end()
        ends = self._ending or self._slept is not None
        return ends and self.mode in ("idle", "fault") and self._at_rest

    # -- read --------------------------------------------------------------------------------------

    def _read(self) -> Beat:
        """Wait for the next beat, our own grid's or the arm's, and take the arm's newest state."""
        if self._paced:
            heard = self.link.read(_BEATS_MISSED * self._period_ns)
            beat = self._beat_of_the_arm(heard)
        else:
            self._grid = self._grid or Grid(self.clock, self.settings.rate_hz)
            beat = self._grid.wait()
            heard = self.link.read(self._period_ns // 5)
        if heard and self.link.state:
            self.pilot.remember(self.link.state, self.setpoint.t_ns)
        return beat

    def _beat_of_the_arm(self, heard: bool) -> Beat:
        if not heard:
            self.clock.sleep_until(self.vigil.woke_ns + self._period_ns)
        self._beats += 1
        now_ns, state = self.clock.now_ns(), self.link.state
        return Beat(self._beats, state.t_ns if state and heard else now_ns, now_ns, 0)

    def _send(self) -> int:
        """Send what the tick before has made; when, ns, or 0: arm or time left it behind."""
        state, knot = self.link.state, self._made
        if knot is None or state is None or not self.link.obeys:
            return 0
        gone = knot.t_ns <= state.t_ns or self.helm.has_underrun(state)
        return 0 if gone else self.link.send(knot)

    def _listen(self, now_ns: int) -> Wishes:
        """Take in interruptions, the operator and requests."""
        self._interrupted = self.vigil.look(now_ns)
        if self._interrupted is None and self.link.state:
            self._interrupted = self.helm.elsewhere(self.link.state)
        self._heard = {}
        for command in self._taken(self._operator, streams.OPERATOR):
            self.seat.hear(command)
        wishes = self.desk.poll(now_ns)
        if self._ending:
            self.desk.stop, self._heard["end"] = True, [now_ns]
        if self._operator.hung_up():
            self.desk.vacate()
        for request, reply in self.desk.answered:
            self.journal.asked(now_ns, request, reply)
        if wishes.go is not None:
            self.epoch += 1
            self.pilot.engage(wishes.go, now_ns)
        if wishes.reset and self.link.in_reflex:
            self.link.recover()
            self._recovering_until_ns = now_ns + _RECOVERY_NS
        return wishes

    def _take_plans(self) -> None:
        """Take in the task and the plans that have arrived."""
        self._taken(self._tasks, streams.TASK)
        self._joined = None
        for chunk in self._taken(self._chunks, streams.CHUNK):
            q, task = self.setpoint.last.q, self._tasks.latest
            if self.pilot.consider(chunk, q, task, self.epoch):
                self._joined = chunk

    def _taken(self, port: Subscriber[Any], stream: Stream) -> list[Any]:
        """What has arrived; noted, so that a replay hears it in the very same tick."""
        arrived = port.poll()
        if arrived:
            self._heard[stream.name] = [message.t_ns for message in arrived]
        return arrived

    # -- decide ------------------------------------------------------------------------------------

    def _decide(self, wishes: Wishes, now_ns: int) -> None:
        at_rest, moving = self.setpoint.last.is_rest(), self.mode in ("hold", "policy", "teleop")
        self._at_rest = at_rest
        facts = Facts(
            cause=self._mishap() or self.link.cause(now_ns),
            reset=wishes.reset or now_ns < self._recovering_until_ns,
            stop=self.desk.stop,
            hold="hold asked for" if wishes.hold else self._interrupted,
            ready=not moving and self.link.unready(now_ns) is None,
            at_rest=at_rest,
            lost=self.pilot.lost(now_ns) if self.mode == "policy" else None,
            start=self.pilot.begins and at_rest,
            present=self.seat.present(now_ns),
            drives=self.seat.drives(now_ns),
        )
        mode, why = decide(self.mode, facts)
        if mode != self.mode:
            deserted = self.mode == "policy" and mode == "hold" and not wishes.hold
            self._enter(mode, why, now_ns)
            if deserted:
                wanted = f"{why}: take over with `tandem teleop`, or go again"
                self.journal.events.say(now_ns, "warn", "operator", wanted)
        elif mode == "hold" and facts.hold:
            self._disengage(facts.hold)
        elif mode == "hold" and self.pilot.waited_too_long(now_ns):
            self._disengage(f"not engaged: {self.pilot.why}")

    def _mishap(self) -> str | None:
        """What has just happened and is over, but must not pass unnoticed."""
        slept = self.vigil.suspended()
        if slept:
            self._slept = slept
            return slept
        fault, self.setpoint.fault = self.setpoint.fault, None
        return fault

    def _enter(self, mode: Mode, why: str, now_ns: int) -> None:
        """Change the mode, tell everybody, and forget what was planned for the one before."""
        before, self.mode, self._why = self.mode, mode, why
        self.epoch += 1
        self.fault = why if mode == "fault" else None
        self._recovering_until_ns = 0
        if mode != "policy":
            self.pilot.leave()
        if mode not in ("policy", "teleop"):
            self.seat.end_driving()
        level: Level = "error" if mode == "fault" else "info"
        kind = "fault" if mode == "fault" else "mode"
        self.journal.events.say(now_ns, level, kind, f"{before} → {mode}: {why}")
        self.journal.count(f"entered_{mode}")

    def _disengage(self, why: str) -> None:
        """Hold on, but whoever was about to move the arm must ask again."""
        if self.pilot.instruction is not None:
            self.epoch += 1
            self.pilot.leave()
            self._why = why

    # -- command -----------------------------------------------------------------------------------

    def _command(self, beat: Beat) -> Knot | None:
        """The knot for the next tick; None: the arm is not ours to command, only to follow."""
        state = self.link.state
        if state is None:
            return None
        next_ns = self._period_ns + (state.t_ns if self._paced else beat.due_ns)
        t_ns = next_ns + self._lead_ns
        if self.mode == "idle" or not self.link.obeys:
            self.setpoint.adopt(state.q_d, t_ns)
            return None
        if self.helm.has_underrun(state) and self.mode in ("policy", "teleop"):
            self.journal.count("underruns")
            text = "no set-point came in time: the arm began to brake by itself"
            self.journal.events.complain(beat.wake_ns, "underrun", text)
        return self.helm.steer(self.mode, state, beat.wake_ns, t_ns, seam=self._joined is not None)

    # -- publish -----------------------------------------------------------------------------------

    def _publish(
        self, beat: Beat, knot: Knot | None, sent_ns: int, started: ActionChunk | None
    ) -> TickRecord:
        record = TickRecord(
            beat=beat,
            sent_ns=sent_ns,
            done_ns=self.clock.now_ns(),
            mode=self.mode,
            epoch=self.epoch,
            fault=self.fault,
            holding_for=self._holding_for(),
            operator=self.seat.holder,
            gripper=self.helm.gripper,
            knot=knot,
            started=started if sent_ns and self.mode == "policy" else None,
            heard=self._heard | self.vigil.noted,
        )
        self.journal.write(record, self.link.state, self.pilot)
        for notice in self.link.notices():
            self.journal.noted(beat.wake_ns, notice)
        return record

    def _holding_for(self) -> str | None:
        """Why motion is slowed or held, for people."""
        if self.mode in ("policy", "teleop"):
            return self.setpoint.why or self.pilot.why
        if self.mode == "idle" and not self.desk.stop:
            return self.link.unready(self.vigil.woke_ns)
        return self.pilot.why or self._why

    # -- answers for the desk ----------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "epoch": self.epoch,
            "fault": self.fault,
            "holding_for": self._holding_for(),
            "operator": self.seat.holder,
            "instruction": self.pilot.instruction,
        }

    def _refusals(self, instruction: str) -> Iterator[str]:
        state, tool, settings = self.link.state, self.setpoint.tool, self.settings
        now_ns = self.vigil.woke_ns
        now = Situation(
            mode=self.mode,
            access=settings.access,
            fault=self.fault,
            state=state,
            state_age_ns=now_ns - state.t_ns if state else 0,
            operator_drives=self.mode == "teleop" or self.seat.drives(now_ns),
            instruction=instruction,
            tool_outside_m=tool.outside_at(self.setpoint.last.q) if tool else 0.0,
            stopped=self.desk.stop,
        )
        return refusals(now, self.arm.spec, settings.motion.range_margin_rad, settings.arm_late_ns)

    def _standing(self) -> str | None:
        """Why a fault or a stop cannot be reset now."""
        latched = self.mode in ("fault", "idle", "stopping")
        return self.link.irrecoverable(self.vigil.woke_ns) if latched else None

    def _stopping(self) -> str:
        """How far it is to rest, for people."""
        seconds, metres = self.setpoint.stop_ahead()
        return f"at rest within {seconds:.2f} s and {metres * 1e3:.0f} mm of the tool"
