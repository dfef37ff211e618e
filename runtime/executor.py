"""The executor: reads the arm, decides, commands, publishes, once per tick. Nobody else commands.

The loop is synchronous and has one clock, one arm and one way out: a knot per tick, made by
`Setpoint` from whatever the mode wants and sent one tick ahead of the arm. It never waits for
anybody: what has arrived counts, what has not is late.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tandem.runtime import streams
from tandem.runtime.chunks import Grip
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Beat, Clock, Grid
from tandem.runtime.desk import Answers, Desk, Wishes
from tandem.runtime.engage import Situation, refusals
from tandem.runtime.errors import DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import Arm, ArmState, Knot
from tandem.runtime.journal import Journal, TickRecord
from tandem.runtime.messages import ActionChunk, Level, Mode
from tandem.runtime.modes import Facts, decide
from tandem.runtime.pilot import Pilot
from tandem.runtime.ports import Bus
from tandem.runtime.rehearsal import rehearse
from tandem.runtime.seat import Seat
from tandem.runtime.setpoint import Setpoint
from tandem.runtime.settings import ExecutorSettings

__all__ = ["Executor", "ExecutorSettings", "TickRecord"]

_STILL_RAD_S = 0.05  # as measured
_STANDS_RAD_S = 1e-6  # of the set-point
_OPEN_SHARE = 0.9
_SUSPENDED_NS = 10 * NS_PER_MS
_CUT_NS = 1 << 61  # so long a silence means that the line to the supervisor is cut
_BEATS_MISSED = 10  # of an arm that gives the beat, before we go on without


def suspended_ns() -> int:
    """How long this machine has been suspended in all: CLOCK_MONOTONIC leaves that out."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()


class Executor:
    """Owns mode, epoch, lease and faults. `step()` is one tick, `run()` all of them.

    `silence_ns(now)` says for how long the supervisor has been silent, `asleep_ns()` for how long
    the machine has been suspended in all.
    """

    def __init__(
        self,
        arm: Arm,
        bus: Bus,
        clock: Clock,
        settings: ExecutorSettings | None = None,
        silence_ns: Callable[[int], int] = lambda now_ns: 0,
        asleep_ns: Callable[[], int] = suspended_ns,
    ) -> None:
        self.settings = settings or ExecutorSettings()
        self.arm, self.clock = arm, clock
        self.mode: Mode = "idle"
        self.epoch = 0
        self.fault: str | None = None
        self.state: ArmState | None = None
        rate_hz, joints = self.settings.rate_hz, len(arm.spec.joint_names)
        self.setpoint = Setpoint(arm.spec, self.settings.motion, 1 / rate_hz)
        self.pilot = Pilot(joints, self.settings)
        self.seat = Seat(joints, self.settings.operator_ns, self.setpoint.tool is not None)
        self.journal = Journal(bus, rate_hz)
        self._chunks = bus.subscriber(streams.CHUNK, "s1")
        self._operator = bus.subscriber(streams.OPERATOR, "teleop")
        self._tasks = bus.subscriber(streams.TASK, "supervisor")
        answers = Answers(self._refusals, self._unready, self._stopping, self.status)
        self.desk = Desk(bus.server("executor"), bus.server("executor-stop"), self.seat, answers)
        self._silence_ns, self._asleep_ns = silence_ns, asleep_ns
        self._slept_ns = asleep_ns()
        self._paced = arm.spec.paced_by == "arm"
        self._period_ns = round(NS_PER_S / rate_hz)
        self._lead_ns = self._period_ns * (1 if self._paced else self.settings.lead_ticks)
        self._grid: Grid | None = None
        self._grip: Grip | None = None
        self._why = "starting"  # of the last change of mode
        self._beats = 0
        self._woke_ns = 0
        self._silent_ns = 0  # the supervisor
        self._read_error: str | None = None
        self._send_error: str | None = None
        self._underruns: int | None = None  # of the arm, that the set-point knows of
        self._interrupted: str | None = None  # why this tick does not simply continue the last
        self._started: ActionChunk | None = None
        self._ending = False

    # -- the story ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Tick until told to end and at rest. SIGTERM ends; SIGINT is for the supervisor."""
        rehearse(self.arm.spec, self.settings)
        with contextlib.closing(self), _signals(self.end):
            while not self._done():
                self.step()

    def step(self) -> TickRecord:
        """Wait for the beat, then read, decide, command, publish."""
        beat = self._wait()
        wishes = self._listen(beat)
        self._decide(wishes, beat.wake_ns)
        knot = self._command(beat)
        sent_ns = self._send(knot)
        return self._publish(beat, knot, sent_ns)

    def end(self) -> None:
        """Come to rest, then let `run` return."""
        self._ending = self.desk.stop = True

    def close(self) -> None:
        self.arm.stop()
        self.journal.close(self.clock.now_ns())

    def _done(self) -> bool:
        if self._silent_ns > _CUT_NS:
            self.end()  # nobody could ever command this one again
        return self._ending and self.mode in ("idle", "fault") and self.setpoint.last.is_rest()

    # -- read --------------------------------------------------------------------------------------

    def _wait(self) -> Beat:
        """The next beat, of our own grid or of the arm, with the arm's newest state."""
        if not self._paced:
            self._grid = self._grid or Grid(self.clock, self.settings.rate_hz)
            beat = self._grid.wait()
            self._read(self._period_ns // 5)
            return beat
        if not self._read(_BEATS_MISSED * self._period_ns):
            self.clock.sleep_until(self._woke_ns + self._period_ns)
        self._beats += 1
        now_ns = self.clock.now_ns()
        return Beat(self._beats, self.state.t_ns if self.state else now_ns, now_ns, 0)

    def _read(self, timeout_ns: int) -> bool:
        """Take the arm's newest state; False: there is none, and the age of the last one tells."""
        try:
            self.state = self.arm.read(timeout_ns)
        except DeviceTimeoutError:
            return False
        except DeviceError as error:
            self._read_error = str(error)
            return False
        self._read_error = None
        self.pilot.remember(self.state, self.setpoint.t_ns)
        return True

    def _listen(self, beat: Beat) -> Wishes:
        """Take in what has arrived: the task, the operator, requests, plans."""
        now_ns = beat.wake_ns
        self._interrupted = self._interruption(now_ns)
        self._tasks.poll()
        for command in self._operator.poll():
            self.seat.hear(command)
        wishes = self.desk.poll(now_ns)
        if wishes.go is not None:
            self.epoch += 1
            self.pilot.engage(wishes.go, now_ns)
        self._started = None
        for chunk in self._chunks.poll():
            q, task = self.setpoint.last.q, self._tasks.latest
            if self.pilot.consider(chunk, q, task, self.epoch):
                self._started = chunk
        return wishes

    def _interruption(self, now_ns: int) -> str | None:
        gap_ns, self._woke_ns = now_ns - (self._woke_ns or now_ns), now_ns
        if gap_ns > self.settings.tick_gap_ns:
            return f"the executor was away for {gap_ns // NS_PER_MS} ms"
        self._silent_ns = self._silence_ns(now_ns)
        if self._silent_ns > self.settings.supervisor_silent_ns:
            return "the supervisor has fallen silent"
        return None

    # -- decide ------------------------------------------------------------------------------------

    def _decide(self, wishes: Wishes, now_ns: int) -> None:
        at_rest = self.setpoint.last.is_rest()
        facts = Facts(
            cause=self._mishap() or self._cause(),
            reset=wishes.reset,
            stop=self.desk.stop,
            hold="hold asked for" if wishes.hold else self._interrupted,
            ready=self.mode in ("idle", "stopping", "fault") and self._unready() is None,
            at_rest=at_rest,
            lost=self.pilot.lost(now_ns) if self.mode == "policy" else None,
            start=self.pilot.begins and at_rest,
            present=self.seat.present(now_ns),
            drives=self.seat.drives(now_ns),
        )
        mode, why = decide(self.mode, facts)
        if mode != self.mode:
            self._enter(mode, why, now_ns)
            if facts.lost and mode == "hold":
                wanted = f"{why}: take over with `tandem teleop`, or go again"
                self.journal.events.say(now_ns, "warn", "operator", wanted)
        elif mode == "hold" and facts.hold:
            self._disengage(facts.hold)
        elif mode == "hold" and self.pilot.waited_too_long(now_ns):
            self._disengage(f"not engaged: {self.pilot.why}")

    def _mishap(self) -> str | None:
        """What has just happened and is over, but must not pass unnoticed."""
        slept_ns, self._slept_ns = self._slept_ns, self._asleep_ns()
        slept_ns = self._slept_ns - slept_ns
        if slept_ns > _SUSPENDED_NS:
            return f"the computer was suspended for {slept_ns / NS_PER_S:.1f} s"
        fault, self.setpoint.fault = self.setpoint.fault, None
        return fault

    def _cause(self) -> str | None:
        """Of a fault, as far as it stands right now."""
        error, state = self._read_error or self._send_error, self.state
        if error or state is None:
            return error
        if self._woke_ns - state.t_ns > self.settings.arm_late_ns:
            return f"the arm is silent for more than {self.settings.arm_late_ns // NS_PER_MS} ms"
        if not _obeys(state):
            return f"{state.status}: {state.error or 'see the display of the arm'}"
        return None

    def _unready(self) -> str | None:
        """Why the arm cannot be held now; None: it can."""
        state = self.state
        if self.settings.access != "move":
            return "access is read_only"
        if state is None:
            return "the arm has not been heard yet"
        cause = self._cause()
        if cause:
            return cause
        # A set-point that stands still wavers in its last bit as knots are interpolated.
        if (abs(state.dq_d) > _STANDS_RAD_S).any() or (abs(state.dq) > _STILL_RAD_S).any():
            return "the arm still moves"
        return None

    def _enter(self, mode: Mode, why: str, now_ns: int) -> None:
        """Change the mode, tell everybody, and forget what was planned for the one before."""
        before, self.mode, self._why = self.mode, mode, why
        self.epoch += 1
        self.fault = why if mode == "fault" else None
        if mode != "policy":
            self.pilot.leave()
        level: Level = "error" if mode == "fault" else "info"
        kind = "fault" if mode == "fault" else "mode"
        self.journal.events.say(now_ns, level, kind, f"{before} → {mode}: {why}")

    def _disengage(self, why: str) -> None:
        """Hold on, but whoever was about to move the arm must ask again."""
        if self.pilot.instruction is not None:
            self.epoch += 1
            self.pilot.leave()
            self._why = why

    # -- command -----------------------------------------------------------------------------------

    def _command(self, beat: Beat) -> Knot | None:
        """The knot of this tick; None: the arm is not ours to command, only to follow."""
        state = self.state
        if state is None:
            return None
        t_ns = self._lead_ns + (state.t_ns if self._paced else beat.due_ns)
        grip = self._grip = self._grip or Grip(self._found_grip(state))
        if self.mode == "idle" or not _obeys(state):
            self.setpoint.adopt(state.q_d, t_ns)
            return None
        if state.coasting or state.underruns != self._underruns:
            self._tell_of_underrun(state, beat.wake_ns)
            self.setpoint.rejoin(state, t_ns)
        elif self.mode == "policy":
            self._follow_plan(grip, beat.wake_ns, t_ns)
        elif self.mode == "teleop":
            self._follow_operator(grip, t_ns)
        else:
            self.setpoint.brake(t_ns)
        self._underruns = state.underruns
        last = self.setpoint.last
        # Until somebody has asked, the hand does what our predecessor told it: it may hold a cube.
        gripper = grip.command if grip.asked else math.nan
        return Knot(t_ns, last.q, last.dq, last.ddq, gripper, state.underruns)

    def _found_grip(self, state: ArmState) -> float:
        """What the hand seems to have been told before our time: fingers apart are open, others
        closed, on something or on nothing."""
        return 1.0 if state.width_m > _OPEN_SHARE * self.settings.gripper_width_m else 0.0

    def _tell_of_underrun(self, state: ArmState, now_ns: int) -> None:
        if self._underruns not in (None, state.underruns) and self.mode in ("policy", "teleop"):
            text = "no set-point came in time: the arm began to brake by itself"
            self.journal.events.complain(now_ns, "underrun", text)

    def _follow_plan(self, grip: Grip, now_ns: int, t_ns: int) -> None:
        pilot, setpoint = self.pilot, self.setpoint
        before, dt_s = setpoint.last, (t_ns - setpoint.t_ns) / NS_PER_S
        setpoint.follow(pilot.next(dt_s, now_ns, before.q), t_ns)
        grip.want(pilot.gripper, t_ns)
        if self._started is not None:
            pilot.plan.seams.commanded(before, setpoint.last, dt_s)

    def _follow_operator(self, grip: Grip, t_ns: int) -> None:
        command = self.seat.command
        if command is None:
            self.setpoint.brake(t_ns)
            return
        if command.frame == "joint":
            self.setpoint.drive(command.velocity, t_ns)
        else:
            self.setpoint.drive_tool(command.velocity, command.frame, t_ns)
        grip.want(command.gripper, t_ns)

    def _send(self, knot: Knot | None) -> int:
        """When `Arm.send` had returned; 0: nothing was sent."""
        if knot is None:
            return 0
        try:
            self.arm.send(knot)
        except DeviceError as error:
            self._send_error = str(error)
            return 0
        self._send_error = None
        return self.clock.now_ns()

    # -- publish -----------------------------------------------------------------------------------

    def _publish(self, beat: Beat, knot: Knot | None, sent_ns: int) -> TickRecord:
        record = TickRecord(
            beat=beat,
            sent_ns=sent_ns,
            done_ns=self.clock.now_ns(),
            mode=self.mode,
            epoch=self.epoch,
            fault=self.fault,
            holding_for=self._holding_for(),
            operator=self.seat.holder,
            gripper=self._grip.command if self._grip else 0.0,
            knot=knot,
            started=self._started if self.mode == "policy" else None,
        )
        self.journal.write(record, self.state, self.pilot)
        return record

    def _holding_for(self) -> str | None:
        """Why motion is slowed or held, for people."""
        if self.mode in ("policy", "teleop"):
            return self.setpoint.why or self.pilot.why
        if self.mode == "idle" and not self.desk.stop:
            return self._unready()
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
        state, tool = self.state, self.setpoint.tool
        now = Situation(
            mode=self.mode,
            access=self.settings.access,
            fault=self.fault,
            state=state,
            state_age_ns=self._woke_ns - state.t_ns if state else 0,
            operator_drives=self.seat.drives(self._woke_ns) or self.mode == "teleop",
            instruction=instruction,
            unset=self.settings.unset,
            tool_outside_m=tool.outside_at(self.setpoint.last.q) if tool else 0.0,
        )
        margin = self.settings.motion.range_margin_rad
        return refusals(now, self.arm.spec, margin, self.settings.arm_late_ns)

    def _stopping(self) -> str:
        dq = self.setpoint.last.dq
        return f"braking: at rest within {self.setpoint.stopping.stop_s(dq):.2f} s"


def _obeys(state: ArmState) -> bool:
    return state.status in ("idle", "moving")


@contextlib.contextmanager
def _signals(end: Callable[[], None]) -> Iterator[None]:
    """SIGTERM asks for the end, SIGINT (a Ctrl-C meant for the supervisor) is ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: end()),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
