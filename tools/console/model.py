"""The fold of all messages into the figures of one moment. Pure: no sockets, no files, no clock.

Totals are `runtime.summary`'s, so that they agree with the run report; the model adds the sliding
window and the bands.
"""

from collections import deque
from collections.abc import Mapping

from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.messages import ActionChunk, Conditioning, Event, Message, Task, Tick
from tandem.runtime.summary import LoopSummary, Series, Summary
from tandem.tools.console import figures, latency, minds
from tandem.tools.console.bands import Bands, Limit, judge, worst
from tandem.tools.console.window import SPAN_NS, Window, spread, spread_of

# The way of the data; whoever else speaks comes after these by name.
_ORDER = ("executor", "sim", "camera", "s2", "s1", "teleop", "recorder")
_LAST = "supervisor"
_EVENTS = 100
_SLOW_PACE = 0.9  # a plan that waits a moment for the arm is no trouble
_SILENT_NS = 1 * NS_PER_S
# Per tick of the fastest loop, and already known as lateness and as the way to the command.
_UNSHOWN = ("wake", "send")


class _LoopWindow:
    """The sliding half of a loop's figures."""

    def __init__(self) -> None:
        self.lateness, self.work = Window(), Window()
        self.samples: dict[str, Window] = {}
        self._missed: deque[tuple[int, int]] = deque()

    def fold(self, tick: Tick, missed: int) -> None:
        self.lateness.add(tick.t_ns, tick.lateness_ns)
        self.work.add(tick.t_ns, tick.work_ns)
        for name, values_ns in tick.samples_ns.items():
            if name not in _UNSHOWN:
                self.samples.setdefault(name, Window()).add(tick.t_ns, values_ns)
        self._missed.append((tick.t_ns, missed))

    def missed(self, now_ns: int) -> int:
        while len(self._missed) > 1 and now_ns - self._missed[0][0] > SPAN_NS:
            self._missed.popleft()
        return self._missed[-1][1] - self._missed[0][1] if self._missed else 0


class Model:
    """Everything heard since `attached_ns`."""

    def __init__(self, limits: Bands, attached_ns: int) -> None:
        self.summary = Summary()
        self.task: Task | None = None
        self._bands = limits
        self._attached_ns = attached_ns
        self._windows: dict[str, _LoopWindow] = {}
        self._way = latency.Way()
        self._minds = minds.Minds(limits)

    def feed(self, now_ns: int, message: Message) -> None:
        """Take one message into the picture."""
        self.summary.fold(now_ns, message)
        match message:
            case Tick():
                loop = self.summary.loops[message.source]
                window = self._windows.setdefault(message.source, _LoopWindow())
                window.fold(message, loop.missed)
                self._way.feed(message)
            case Conditioning():
                self._minds.heard(message)
            case ActionChunk():
                self._minds.chunk = message
            case Task():
                self.task = message

    def snapshot(
        self, now_ns: int, processes: Mapping[str, figures.Process] | None = None
    ) -> figures.Snapshot:
        """The figures of this moment; what is known of the attachment is for others to add."""
        return figures.Snapshot(
            presence="attached",
            attached_s=(now_ns - self._attached_ns) / NS_PER_S,
            window_s=SPAN_NS / NS_PER_S,
            robot=self._robot(now_ns),
            loops=self._loops(now_ns, processes or {}),
            latency=self._way.figures(now_ns, self._bands, self._stage_timings(now_ns)),
            conditioning=self._minds.conditioning(now_ns, self.summary),
            cache=self._minds.cache(now_ns, self.summary),
            chunks=self._minds.chunks(self.summary),
            events=tuple(_said(now_ns, e) for e in list(self.summary.events)[: -_EVENTS - 1 : -1]),
        )

    # -- the robot ---------------------------------------------------------------------------------

    def _robot(self, now_ns: int) -> figures.Robot:
        state, words = self.summary.state.newest, self.task.instruction if self.task else ""
        if state is None:
            return figures.Robot(instruction=words)
        age_ms = max(now_ns - state.t_ns, 0) / NS_PER_MS
        troubled = "error" if state.fault else "warn" if _slowed(state.mode, state.pace) else "ok"
        return figures.Robot(
            mode=state.mode,
            health=worst(troubled, judge(age_ms, self._bands.state_ms, self._bands.state_ms)),
            epoch=state.epoch,
            pace=state.pace,
            operator=state.operator,
            fault=state.fault,
            holding_for=state.holding_for,
            instruction=words,
            state_age_ms=round(age_ms, 3),
            fresh=age_ms <= self._bands.state_ms,
            state_rate_hz=round(self.summary.state.rate.hz, 2),
        )

    # -- loops -------------------------------------------------------------------------------------

    def _loops(
        self, now_ns: int, processes: Mapping[str, figures.Process]
    ) -> tuple[figures.Loop, ...]:
        names = sorted({*self.summary.loops, *processes}, key=_place)
        return tuple(self._loop(now_ns, name, processes.get(name)) for name in names)

    def _loop(self, now_ns: int, name: str, process: figures.Process | None) -> figures.Loop:
        loop, window = self.summary.loops.get(name), self._windows.get(name)
        if loop is None or window is None:
            return figures.Loop(name, "ok" if process else "off", process=process)
        asked_hz, limits = loop.rate_hz, self._bands
        late = _timing(now_ns, window.lateness, loop.lateness, limits.lateness(asked_hz))
        work = _timing(now_ns, window.work, loop.work, limits.work(asked_hz))
        silent_ns = now_ns - loop.heard_ns
        missed = window.missed(now_ns)
        trend = window.lateness if loop.lateness.all.n else window.work
        return figures.Loop(
            name=name,
            health=_health(late, work, missed, silent_ns, process),
            asked_hz=asked_hz,
            rate_hz=round(loop.rate.hz, 2) if silent_ns <= _SILENT_NS else 0.0,
            ticks=loop.ticks,
            missed_ticks=loop.missed,
            missed_in_window=missed,
            restarts=loop.restarts,
            telemetry_lost=loop.lost,
            silent_s=round(silent_ns / NS_PER_S, 2) if silent_ns > _SILENT_NS else 0.0,
            lateness=late,
            work=work,
            samples=self._samples(now_ns, loop, window),
            trend_ms=trend.trend_ms(now_ns),
            lateness_bins=window.lateness.bins(),
            work_bins=window.work.bins(),
            counters=loop.counters,
            gauges=loop.gauges,
            process=process,
        )

    @staticmethod
    def _samples(now_ns: int, loop: LoopSummary, window: _LoopWindow) -> dict[str, figures.Timing]:
        return {n: _timing(now_ns, w, loop.samples[n]) for n, w in window.samples.items()}

    def _stage_timings(self, now_ns: int) -> dict[str, figures.Timing]:
        """What System 2 tells of its own stages."""
        loop, window = self.summary.loops.get("s2"), self._windows.get("s2")
        return self._samples(now_ns, loop, window) if loop and window else {}


def _slowed(mode: str, pace: float) -> bool:
    return mode == "stopping" or (mode == "policy" and pace < _SLOW_PACE)


def _place(name: str) -> tuple[int, str]:
    known = _ORDER.index(name) if name in _ORDER else len(_ORDER) + (name == _LAST)
    return known, name


def _timing(
    now_ns: int, window: Window, all_of_it: Series, limit: Limit | None = None
) -> figures.Timing:
    limit = limit or Limit()
    return figures.Timing(
        spread(window.values_ns(now_ns)),
        spread_of(all_of_it.all),
        limit.error_ms,
        limit.warn_ms,
    )


def _health(
    late: figures.Timing,
    work: figures.Timing,
    missed: int,
    silent_ns: int,
    process: figures.Process | None,
) -> figures.Health:
    """By p99 of the window: the one late tick in ten thousand is seen in its own cell."""
    if silent_ns > _SILENT_NS:
        return "error"
    calm: figures.Health = "warn" if missed or (process and process.refused) else "ok"
    known = [(t.window.p99_ms, t.limit_ms, t.warn_ms) for t in (late, work) if t.window]
    return worst(calm, *(judge(*values) for values in known))


def _said(now_ns: int, event: Event) -> figures.Said:
    lines = [line.strip() for line in event.text.splitlines() if line.strip()]
    age_s = max(now_ns - event.t_ns, 0) / NS_PER_S
    text = " · ".join(lines)
    return figures.Said(round(age_s, 2), event.level, event.source, event.kind, text)
