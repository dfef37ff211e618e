"""The fold of everything that loops say about themselves into one picture of a run.

Pure: it is given messages and the time, and touches neither sockets nor clocks, so it is tested
with invented time. The run report, the status line and the console read the same `Summary`.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
from tandem.runtime import streams
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.histogram import Histogram
from tandem.runtime.messages import Conditioning, Event, Message, RobotState, Tick

_RECENT = 1024
_EVENTS = 500


class Series:
    """One quantity over time: the histogram of all of it, and the newest thousand values."""

    def __init__(self) -> None:
        self.all = Histogram()
        self._recent: deque[int] = deque(maxlen=_RECENT)

    def record(self, values_ns: np.ndarray) -> None:
        self.all.record(values_ns)
        self._recent.extend(values_ns[-_RECENT:].tolist())

    @property
    def recent(self) -> np.ndarray:
        """[≤ 1024] int64, newest last."""
        return np.array(self._recent, np.int64)


class Rate:
    """How often something happens, over the last few seconds."""

    def __init__(self, marks: int = 32) -> None:
        self._marks: deque[tuple[int, int]] = deque(maxlen=marks)
        self._count = 0

    def add(self, t_ns: int, n: int = 1) -> None:
        self._count += n
        self._marks.append((t_ns, self._count))

    @property
    def hz(self) -> float:
        if len(self._marks) < 2:
            return 0.0
        (t0_ns, n0), (t1_ns, n1) = self._marks[0], self._marks[-1]
        return (n1 - n0) * NS_PER_S / (t1_ns - t0_ns) if t1_ns > t0_ns else 0.0


@dataclass
class LoopSummary:
    """One loop. Counts run on over restarts of its process, of which `restarts` tells."""

    rate_hz: float = 0.0  # asked for
    rate: Rate = field(default_factory=Rate)
    ticks: int = 0
    lateness: Series = field(default_factory=Series)
    work: Series = field(default_factory=Series)
    samples: dict[str, Series] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    restarts: int = 0
    lost: int = 0  # batches of telemetry that never came
    heard_ns: int = 0
    _seq: int = -1
    _missed: int = 0
    _missed_before: int = 0
    _now: Counter[str] = field(default_factory=Counter)
    _before: Counter[str] = field(default_factory=Counter)

    @property
    def missed(self) -> int:
        return self._missed_before + self._missed

    @property
    def counters(self) -> dict[str, int]:
        return dict(self._before + self._now)

    def alive(self, now_ns: int) -> bool:
        return self.heard_ns > 0 and now_ns - self.heard_ns <= streams.TICK.max_age_ns

    def fold(self, now_ns: int, tick: Tick) -> None:
        if tick.seq <= self._seq:
            self.restarts += 1
            self._missed_before += self._missed
            self._before += self._now
        elif self._seq >= 0:
            self.lost += tick.seq - self._seq - 1
        self._seq, self.heard_ns, self.rate_hz = tick.seq, now_ns, tick.rate_hz
        self._missed, self._now = tick.missed, Counter(tick.counters)
        self.gauges = dict(tick.gauges)
        self.ticks += tick.work_ns.size
        self.rate.add(tick.t_ns, tick.work_ns.size)
        self.lateness.record(tick.lateness_ns)
        self.work.record(tick.work_ns)
        for name, values_ns in tick.samples_ns.items():
            self.samples.setdefault(name, Series()).record(values_ns)


@dataclass(frozen=True)
class ModeChange:
    t_ns: int
    before: str
    after: str
    reason: str


@dataclass
class StateSummary:
    """The robot as last heard, and where its time went."""

    newest: RobotState | None = None
    rate: Rate = field(default_factory=Rate)
    heard_ns: int = 0
    time_in_mode_ns: Counter[str] = field(default_factory=Counter)
    mode_changes: deque[ModeChange] = field(default_factory=lambda: deque(maxlen=_EVENTS))
    faults: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=_EVENTS))

    def fresh(self, now_ns: int) -> bool:
        return self.newest is not None and now_ns - self.newest.t_ns <= streams.STATE.max_age_ns

    def fold(self, now_ns: int, state: RobotState) -> None:
        last = self.newest
        self.newest, self.heard_ns = state, now_ns
        self.rate.add(state.t_ns, max(state.seq - last.seq, 1) if last else 1)
        if last is not None and state.t_ns > last.t_ns:
            self.time_in_mode_ns[last.mode] += state.t_ns - last.t_ns
        before = last.mode if last else ""
        if state.mode != before:
            reason = state.fault or state.holding_for or ""
            self.mode_changes.append(ModeChange(state.t_ns, before, state.mode, reason))
        if state.fault and state.fault != (last.fault if last else None):
            self.faults.append((state.t_ns, state.fault))


@dataclass
class ConditioningSummary:
    """System 2 as heard: how often each level was refreshed, and what that saved."""

    newest: Conditioning | None = None
    rate: Rate = field(default_factory=Rate)
    frames: int = 0
    refreshes: list[int] = field(default_factory=list)  # per level
    macs: int = 0
    macs_full: int = 0
    timings: dict[str, Series] = field(default_factory=dict)

    @property
    def macs_saved(self) -> float:
        """Share of the trunk's multiply-adds that the cache saved, 0 … 1."""
        return 1 - self.macs / self.macs_full if self.macs_full else 0.0

    def fold(self, conditioning: Conditioning) -> None:
        self.newest = conditioning
        self.frames += 1
        self.rate.add(conditioning.t_ns)
        missing = len(conditioning.refreshed) - len(self.refreshes)
        self.refreshes.extend([0] * max(missing, 0))
        for level, refreshed in enumerate(conditioning.refreshed):
            self.refreshes[level] += refreshed
        self.macs += conditioning.macs
        self.macs_full += conditioning.macs_full
        for stage, spent_ns in conditioning.timings_ns.items():
            self.timings.setdefault(stage, Series()).record(np.array([spent_ns]))


@dataclass
class Summary:
    """Everything heard so far."""

    loops: dict[str, LoopSummary] = field(default_factory=dict)
    state: StateSummary = field(default_factory=StateSummary)
    conditioning: ConditioningSummary = field(default_factory=ConditioningSummary)
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=_EVENTS))
    event_counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (source, kind)

    def fold(self, now_ns: int, message: Message) -> None:
        """Take one message into the picture."""
        match message:
            case Tick():
                self.loops.setdefault(message.source, LoopSummary()).fold(now_ns, message)
            case RobotState():
                self.state.fold(now_ns, message)
            case Conditioning():
                self.conditioning.fold(message)
            case Event():
                self.events.append(message)
                self.event_counts[message.source, message.kind] += 1
