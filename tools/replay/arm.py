"""The arm in a replay: it shows what the real one showed, and follows the knots that it is sent.

Its path (quintics, drivers/follow.py) is what tells whether these are the knots that were sent
then. When it came to a knot is in the recording, but for one case: an arm that brakes by itself, or
rests, goes on at that one of its own beats which finds the knot, and no message says which. It lies
between the state that the tick saw and the tick's end, so the beat that explains best what the arm
showed next is taken. Another knot would be explained by none: one number is free, all joints must
fit, then and at every stamp after.
"""

import numpy as np
from tandem.drivers.follow import Follower, Segment, SetPoint
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import DeviceTimeoutError
from tandem.runtime.interfaces import ArmSpec, ArmState, Array, Knot
from tandem.runtime.messages import RobotState


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
        self.wake()

    def wake(self) -> None:
        self._t_ns = max(self._t_ns, self._wake_ns)


class Path(Follower):
    """The path that the arm makes of knots, as often interrupted as the real one was."""

    def leave(self, state: RobotState) -> None:
        """The arm braked by itself, or was put elsewhere: from where it then was."""
        self._segments.clear()
        there = SetPoint(state.q_cmd, state.dq_cmd, state.ddq_cmd, self.now.gripper)
        self._brake_from(there, state.t_ns)
        self._t_ns, self.underruns = state.t_ns, state.underruns

    def join(self, knot: Knot, beats: range, seen: RobotState) -> None:
        """From no segment onto the knot's, at the beat that explains the set-point `seen` later."""
        if not self._segments and self._t_ns < seen.t_ns:
            self.advance(min(beats, key=lambda beat: self._amiss(knot, beat, seen)))

    def _amiss(self, knot: Knot, beat_ns: int, seen: RobotState) -> float:
        """How far from what was seen, rad, if the knot was found at this beat."""
        start = SetPoint(*self._brake.at((beat_ns - self._brake_t_ns) / NS_PER_S), 0.0)
        end = SetPoint(knot.q, knot.dq, knot.ddq, 0.0)
        then = Segment(beat_ns, start, knot.t_ns, end).at(min(seen.t_ns, knot.t_ns))
        return float(np.abs(then.q - seen.q_cmd).max())


class RecordedArm:
    """Shows what the real one showed; follows the knots it is sent on a path of its own."""

    def __init__(self, spec: ArmSpec, clock: BeatClock, first: RobotState) -> None:
        self.spec, self._clock = spec, clock
        self._beat_ns = round(NS_PER_S / spec.rate_hz)
        self._shown: RobotState | None = None
        self._read_ns = 0
        self._path = Path(spec, first.q_cmd, first.t_ns)
        self._path.underruns = first.underruns
        self._sent: list[tuple[Knot, RobotState]] = []  # since it last told of itself, and when

    def show(self, state: RobotState) -> None:
        """Before each tick. Where the real arm left its knots, the path goes on from there."""
        before, self._shown = self._shown or state, state
        if state.t_ns > before.t_ns:
            self._go_on(state)
        if state.underruns != before.underruns or state.underruns != self._path.underruns:
            self._path.leave(state)
        self._path.blocked = state.arm_status not in ("idle", "moving")

    def connect(self) -> None:
        """It is there."""

    def read(self, timeout_ns: int) -> ArmState:
        """Raises DeviceTimeoutError: in this tick it told nothing new."""
        state = self._shown
        if state is None or state.t_ns == self._read_ns:
            raise DeviceTimeoutError("the arm told nothing in this tick")
        self._read_ns = state.t_ns
        self._clock.wake()  # where the arm gives the beat, its word is what ends the wait
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
        assert self._shown is not None, "a tick begins with show()"
        self._sent.append((knot, self._shown))

    def stop(self) -> None:
        """Nothing moves here."""

    def recover(self) -> None:
        """What the real one did then is in the states that it shows."""

    @property
    def path_q(self) -> Array:
        """[D] rad, at the stamp of the state that is shown."""
        return self._path.now.q

    def _go_on(self, state: RobotState) -> None:
        """Along the path to where the arm says it is, by what it was sent since it last said so."""
        for knot, tick in self._sent:
            until_ns = max(min(tick.t_done_ns, state.t_ns, knot.t_ns), tick.t_ns + 1)
            self._path.join(knot, range(tick.t_ns, until_ns, self._beat_ns), state)
            self._path.offer(knot, tick.t_done_ns)
        self._sent.clear()
        self._path.advance(state.t_ns)
