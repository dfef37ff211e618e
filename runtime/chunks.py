"""The plan: action chunks joined into one path, cut exactly where it has been executed.

A chunk is anchored at the state that it was planned from, so what was executed since is cut by
time, never by an estimated latency. Time along the path is the chunk clock s: it runs at most as
fast as time, and slower when it must. So slowing down leaves the path as it is, and cutting goes
by s.
"""

import math
from bisect import bisect_right
from collections import deque
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.interfaces import Array
from tandem.runtime.interpolate import Motion, Spline
from tandem.runtime.messages import ActionChunk

Join = Literal["replace", "crossfade", "ensemble", "rtc"]

_MAX_STEPS = 1000
_MIN_DT_NS, _MAX_DT_NS = NS_PER_MS, 10 * NS_PER_S
_ABSURD_RAD = 1e3


class Anchor(NamedTuple):
    """Where the arm's set-point was at some time: s of the chunk clock, q [D] rad, dq [D] rad/s."""

    s: float
    q: Array
    dq: Array


class Past:
    """The set-points of the last `size` ticks, to look up the one that a chunk was planned from."""

    def __init__(self, size: int) -> None:
        # One leaves as one comes: to let go of thousands at once takes most of a millisecond.
        self._t_ns: deque[int] = deque(maxlen=size)
        self._anchors: deque[Anchor] = deque(maxlen=size)

    def push(self, t_ns: int, anchor: Anchor) -> None:
        """Times must grow; a state that is seen twice counts once."""
        if self._t_ns and t_ns <= self._t_ns[-1]:
            return
        self._t_ns.append(t_ns)
        self._anchors.append(anchor)

    def at(self, t_ns: int) -> Anchor | None:
        """The set-point of that time, exactly if it is a state's; None: forgotten, or not yet."""
        i = bisect_right(self._t_ns, t_ns) - 1
        if i < 0 or t_ns > self._t_ns[-1]:
            return None
        dt_s = (t_ns - self._t_ns[i]) / NS_PER_S
        s, q, dq = self._anchors[i]
        return self._anchors[i] if dt_s == 0 else Anchor(s, q + dt_s * dq, dq)


class ChunkClock:
    """s(t) with 0 ≤ ds/dt ≤ 1: `pace` is ds/dt, `rate` its derivative; both change gently."""

    MAX_RATE = 5.0  # 1/s: between standing and full pace in a quarter of a second
    MAX_RATE_CHANGE = 100.0  # 1/s²

    def __init__(self) -> None:
        self.s = 0.0
        self.pace = 0.0
        self.rate = 0.0

    def stand(self) -> None:
        self.pace = self.rate = 0.0

    def advance(self, dt_s: float, pace: float) -> None:
        """One tick with `pace` wanted."""
        pace = min(max(pace, 0.0), 1.0)
        gap = pace - self.pace
        # The largest rate that can still fade to zero before the gap is closed.
        wanted = math.copysign(min(math.sqrt(self.MAX_RATE_CHANGE * abs(gap)), self.MAX_RATE), gap)
        change = self.MAX_RATE_CHANGE * dt_s
        self.rate = min(max(wanted, self.rate - change), self.rate + change)
        after = min(max(self.pace + self.rate * dt_s, 0.0), 1.0)
        if abs(gap) <= change * dt_s and abs(self.rate) <= change:
            after, self.rate = pace, 0.0  # close enough, and slow enough, to be there
        self.s += (self.pace + after) / 2 * dt_s
        self.pace = after

    @classmethod
    def stoppable(cls, room_s: float) -> float:
        """The largest pace that can still come to stand within `room_s` of the path."""
        rate = 0.7 * cls.MAX_RATE  # the rest is margin
        lag = rate * rate / (2 * cls.MAX_RATE_CHANGE)
        return math.sqrt(lag * lag + 2 * rate * max(room_s, 0.0)) - lag

    def stretch(self, along_s: Motion) -> Motion:
        """Derivatives by s into derivatives by time."""
        pace = self.pace
        if pace == 1.0 and self.rate == 0.0:
            return along_s  # they are the same at full pace, which is nearly always
        return Motion(np.array(((1, 0, 0), (0, pace, 0), (0, self.rate, pace**2))) @ along_s.rows)


@dataclass(slots=True)
class Counts:
    """What became of the chunks, since the start."""

    joined: int = 0
    late: int = 0  # joined, but more than half of it was over
    dead: int = 0  # over before it came
    foreign: int = 0  # of another epoch or instruction
    malformed: int = 0


class Plan:
    """One path at a time. `joints` is D; a further column of the actions is the gripper's."""

    def __init__(self, joints: int, join: Join = "crossfade", fade_steps: int = 4) -> None:
        self.counts = Counts()
        self.seams = Seams()
        self.path: Spline | None = None
        self.chunk: ActionChunk | None = None
        self._joints = joints
        self._join = join
        # Even to replace takes one step: a plan that starts anew from where the arm lags behind
        # the last one leaves it further behind each time, until it runs the other way.
        self._fade_steps = fade_steps if join == "crossfade" else 1
        self._recent: deque[Spline] = deque(maxlen=8)

    def clear(self) -> None:
        self.path = self.chunk = None
        self._recent.clear()

    def remaining_s(self, s: float) -> float:
        return max(self.path.end_s - s, 0.0) if self.path else 0.0

    def offer(
        self, chunk: ActionChunk, past: Past, s: float, epoch: int, instruction_id: int
    ) -> bool:
        """Join a chunk to the plan at `s`; False: it was dropped, and `counts` says why."""
        if not self._well_formed(chunk):
            self.counts.malformed += 1
            return False
        if (chunk.epoch, chunk.instruction_id) != (epoch, instruction_id):
            self.counts.foreign += 1
            return False
        anchor = past.at(chunk.t0_ns)
        steps, step_s = len(chunk.actions), chunk.dt_ns / NS_PER_S
        if anchor is None or s >= anchor.s + steps * step_s:
            self.counts.dead += 1
            return False
        self.counts.late += s - anchor.s > steps * step_s / 2
        self.counts.joined += 1
        raw = Spline(anchor.s, anchor.q, anchor.dq, step_s, chunk.actions[:, : self._joints])
        if self._recent:
            self.seams.planned(self._recent[-1].at(s), raw.at(s))
        self._recent.append(raw)
        self.path, self.chunk = self._joined(raw, anchor, s), chunk
        return True

    def gripper_at(self, s: float) -> float | None:
        """What the running action wants of the gripper, 0 closed … 1 open; None: nothing."""
        if self.path is None or self.chunk is None:
            return None
        if self.chunk.actions.shape[1] == self._joints:
            return None
        i = math.ceil((s - self.path.start_s) / self.path.step_s) - 1
        return float(self.chunk.actions[min(max(i, 0), self.path.steps - 1), self._joints])

    def _joined(self, raw: Spline, anchor: Anchor, s: float) -> Spline:
        """The new path: the old one up to `s`, the new targets after the fade, a blend between."""
        old, targets = self.path, raw.knots_q
        if self._join == "ensemble":
            targets = self._ensemble(raw.knots_s)
        if old is None or not self._fade_steps:
            return raw
        knots_s = raw.knots_s
        x = np.minimum(np.maximum((knots_s - s) / (self._fade_steps * raw.step_s), 0), 1)
        new = np.where(knots_s > old.end_s, 1.0, x * x * (3 - 2 * x))[:, None]
        start = old.at(anchor.s) if anchor.s >= old.start_s else anchor
        blended = (1 - new) * old.positions(knots_s) + new * targets
        return Spline(anchor.s, start.q, start.dq, raw.step_s, blended)

    def _ensemble(self, knots_s: Array, decay: float = 0.01) -> Array:
        """ACT's temporal ensemble: weights exp(-decay·i) over all chunks that reach a knot, i = 0
        the oldest (Zhao et al. 2023, section IV-A)."""
        weights = np.array(
            [
                math.exp(-decay * i) * ((path.start_s <= knots_s) & (knots_s <= path.end_s + 1e-9))
                for i, path in enumerate(self._recent)
            ]
        )  # [chunks, H]
        stacked = np.stack([path.positions(knots_s) for path in self._recent])
        mean: Array = np.einsum("ch,chd->hd", weights / weights.sum(axis=0), stacked)
        return mean

    def _well_formed(self, chunk: ActionChunk) -> bool:
        actions = chunk.actions
        return (
            actions.ndim == 2
            and actions.shape[1] in (self._joints, self._joints + 1)
            and 1 <= len(actions) <= _MAX_STEPS
            and _MIN_DT_NS <= chunk.dt_ns <= _MAX_DT_NS
            and bool((abs(actions) < _ABSURD_RAD).all())  # false for NaN too
        )


class Seams:
    """The largest steps at chunk seams: what chunks would have done, and what was commanded."""

    def __init__(self) -> None:
        self.raw = [0.0, 0.0, 0.0]  # rad, rad/s, rad/s²
        self.sent = [0.0, 0.0, 0.0]

    def planned(self, old: Motion, new: Motion) -> None:
        """The same instant by the old plan and by the new chunk."""
        self._keep(self.raw, old, new)

    def commanded(self, last: Motion, step: Motion, dt_s: float) -> None:
        """A command at a seam, and where the one before it was heading."""
        self._keep(self.sent, last.ahead(dt_s), step)

    def gauges(self) -> dict[str, float]:
        names = ("q_rad", "dq_rad_s", "ddq_rad_s2")
        return {
            f"seam_{kind}_{name}": value
            for kind, values in (("raw", self.raw), ("sent", self.sent))
            for name, value in zip(names, values, strict=True)
        }

    @staticmethod
    def _keep(largest: list[float], a: Motion, b: Motion) -> None:
        for i in range(3):
            largest[i] = max(largest[i], float(abs(a.rows[i] - b.rows[i]).max()))


class Grip:
    """One clear word for the gripper out of a wavering one: hysteresis and debounce."""

    def __init__(
        self,
        command: float,
        close_below: float = 0.4,
        open_above: float = 0.6,
        debounce_ns: int = 60 * NS_PER_MS,
    ) -> None:
        """`command` is the grip to keep until something else is asked for long enough."""
        self.command = command
        self.asked = False  # by anybody, so far
        self._close_below, self._open_above = close_below, open_above
        self._debounce_ns = debounce_ns
        self._wish = command
        self._since_ns = 0

    def want(self, value: float | None, t_ns: int) -> float:
        """0 or 1 once `value` (0 closed … 1 open) was clear for long enough, else as before."""
        if value is None or not math.isfinite(value):
            return self.command
        self.asked = True
        wish = self._wish
        if value < self._close_below:
            wish = 0.0
        elif value > self._open_above:
            wish = 1.0
        if wish != self._wish:
            self._wish, self._since_ns = wish, t_ns
        elif wish != self.command and t_ns - self._since_ns >= self._debounce_ns:
            self.command = wish
        return self.command


def counters(counts: Counts) -> dict[str, int]:
    return {f"chunks_{name}": value for name, value in asdict(counts).items()}
