"""A recording as a Chrome trace: every process on one time line, camera to command by arrows.

Ticks are telemetry, which carries durations and not instants; of a loop on a grid the last tick
of a batch ends when the batch is sent, so each tick's instants follow from the grid, and from how
late each was done which ticks the grid then skipped.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tandem.runtime import streams
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import ConfigError
from tandem.runtime.messages import ActionChunk, Conditioning, Event, RobotState, Task, Tick
from tandem.tools.export.chrome import Trace
from tandem.tools.record.reader import Picture, Recording

_STAGES = ("vision", "gate", "static", "trunk", "readout")
_SHUTTER_NS = NS_PER_MS  # how wide an exposure is drawn: its middle is what is known
_STATE_EVERY_NS = 20 * NS_PER_MS


@dataclass
class Lineage:
    """What an arrow needs: when what was there, by number."""

    captures: dict[int, str] = field(default_factory=dict)  # t_capture_ns → the row it is drawn in
    thoughts: dict[int, int] = field(default_factory=dict)  # t_conditioning_ns → begin of it
    plans: dict[int, ActionChunk] = field(default_factory=dict)  # by number, the newest life's


def export(
    recording: Recording, out: Path, begin_s: float = 0.0, seconds: float | None = None
) -> Counter[str]:
    """Write the trace of a time span; returns what it holds, by kind.

    Raises:
        ConfigError: nothing was recorded in that span.
    """
    first = next(recording.entries(), None)
    if first is None:
        raise ConfigError(f"{recording.path} holds no messages")
    since_ns = first.arrival_ns + round(begin_s * NS_PER_S)
    until_ns = 1 << 62 if seconds is None else since_ns + round(seconds * NS_PER_S)
    trace = draw(recording, since_ns, until_ns)
    if not trace.events:
        raise ConfigError(f"{recording.path} holds nothing from second {begin_s:g} on")
    out.write_text(json.dumps(trace.document(), separators=(",", ":"), default=_plain))
    return trace.counts


def draw(recording: Recording, since_ns: int, until_ns: int) -> Trace:
    """Everything that arrived in [since, until)."""
    trace, lineage = Trace(since_ns), Lineage()
    for picture in recording.pictures(since_ns=since_ns, until_ns=until_ns):
        _picture(trace, lineage, picture)
    missed: dict[str, int] = {}
    states: list[RobotState] = []
    for entry in recording.entries(since_ns=since_ns, until_ns=until_ns):
        match entry.message:
            case Tick() as tick:
                _ticks(trace, tick, missed)
            case Conditioning() as thought:
                _thought(trace, lineage, thought)
            case ActionChunk() as chunk:
                _plan(trace, lineage, chunk)
            case RobotState() as state if entry.stream == streams.STATE.name:
                states.append(state)
            case Event() as event:
                name = f"{event.kind}: {event.text}"
                trace.instant((event.source, "events"), name, event.t_ns, level=event.level)
                trace.counts["events"] += 1
            case Task() as task:
                text = task.instruction
                trace.instant(("supervisor", "task"), f"task: {text}", task.t_ns)
    _states(trace, lineage, states)
    return trace


def _picture(trace: Trace, lineage: Lineage, picture: Picture) -> None:
    _exposure(trace, lineage, picture.camera, picture.t_capture_ns, picture.seq)
    trace.counts["frames"] += 1


def _exposure(trace: Trace, lineage: Lineage, row: str, t_ns: int, seq: int) -> None:
    half_ns = _SHUTTER_NS // 2
    trace.slice(("camera", row), f"frame {seq}", t_ns - half_ns, t_ns + half_ns, seq=seq)
    lineage.captures[t_ns] = row


def _ticks(trace: Trace, tick: Tick, missed: dict[str, int]) -> None:
    """Each tick of a loop on a grid, exactly; of the others only what their messages tell."""
    skipped = tick.missed - missed.get(tick.source, tick.missed)
    missed[tick.source] = tick.missed
    for name, value in tick.gauges.items():
        trace.counter(tick.source, name, tick.t_ns, value=value)
    n = tick.work_ns.size
    if not tick.rate_hz or not n or tick.lateness_ns.size != n:
        return
    wakes_ns, works_ns = tick_times(tick)
    row = (tick.source, "ticks")
    for wake_ns, work_ns, late_ns in zip(wakes_ns, works_ns, tick.lateness_ns, strict=True):
        end_ns = int(wake_ns + work_ns)
        trace.slice(row, "tick", int(wake_ns), end_ns, late_us=round(int(late_ns) / 1e3, 1))
    if skipped > 0:
        trace.instant(row, f"{skipped} ticks missed", int(wakes_ns[0]))
    trace.counts["ticks"] += n


def tick_times(tick: Tick) -> tuple[np.ndarray, np.ndarray]:
    """When each tick of a batch woke and how long it worked, ns [N] and [N]."""
    period_ns = round(NS_PER_S / tick.rate_hz)
    done_ns = tick.lateness_ns + tick.work_ns  # after each was due
    steps = np.maximum(done_ns[:-1] // period_ns, 1)  # a grid skips what is over: clock.Grid
    to_the_last = np.append(np.cumsum(steps[::-1])[::-1], 0)
    due_ns = tick.t_ns - int(done_ns[-1]) - period_ns * to_the_last
    return due_ns + tick.lateness_ns, tick.work_ns


def _thought(trace: Trace, lineage: Lineage, said: Conditioning) -> None:
    """A step of System 2 with its stages; they follow each other and end with the step."""
    end_ns, spent = said.t_ns, said.timings_ns
    begin_ns = end_ns - spent.get("step", 0)
    about = {"seq": said.seq, "gate": said.gate, "refreshed": said.refreshed}
    trace.slice(("s2", "step"), f"conditioning {said.seq}", begin_ns, end_ns, **about)
    at_ns = begin_ns
    for stage in _STAGES:
        took_ns = spent.get(stage, 0)
        if took_ns:
            trace.slice(("s2", "step"), stage, at_ns, min(at_ns + took_ns, end_ns))
            at_ns += took_ns
    lineage.thoughts[end_ns] = begin_ns
    trace.counts["conditionings"] += 1


def _plan(trace: Trace, lineage: Lineage, chunk: ActionChunk) -> None:
    begin_ns = chunk.t_ns - chunk.timings_ns.get("infer", 0)
    about = {
        "seq": chunk.seq,
        "conditioning": chunk.conditioning_seq,
        "state_age_us": (begin_ns - chunk.t0_ns) / 1e3,
        "epoch": chunk.epoch,
    }
    trace.slice(("s1", "plan"), f"chunk {chunk.seq}", begin_ns, chunk.t_ns, **about)
    lineage.plans[chunk.seq] = chunk
    trace.counts["chunks"] += 1


def _states(trace: Trace, lineage: Lineage, states: list[RobotState]) -> None:
    """Modes, what was executed of which chunk, and the arm, coarsely."""
    for run in _runs(states, lambda s: s.mode):
        who = {"operator": run[0].operator, "why": run[0].holding_for, "fault": run[0].fault}
        trace.slice(("executor", "mode"), run[0].mode, run[0].t_ns, run[-1].t_ns, **who)
    for run in _runs(states, lambda s: s.chunk_seq):
        if run[0].chunk_seq >= 0:
            _execution(trace, lineage, run)
    next_ns = 0
    for state in states:
        if state.t_ns >= next_ns:
            next_ns = state.t_ns + _STATE_EVERY_NS
            names = enumerate(state.dq_cmd.tolist(), 1)
            trace.counter("executor", "dq_cmd rad/s", state.t_ns, **{f"j{i}": v for i, v in names})
            trace.counter("executor", "pace", state.t_ns, pace=state.pace)


def _execution(trace: Trace, lineage: Lineage, run: list[RobotState]) -> None:
    """A chunk while it is followed, and the arrow that leads there from its picture."""
    number, begin_ns = run[0].chunk_seq, run[0].t_ns
    row = ("executor", "command")
    since_us = (begin_ns - run[0].t_capture_ns) / 1e3 if run[0].t_capture_ns else None
    trace.slice(row, f"runs chunk {number}", begin_ns, run[-1].t_ns, camera_to_here_us=since_us)
    trace.counts["executions"] += 1
    chunk = lineage.plans.get(number)
    if chunk is None or chunk.epoch > run[0].epoch:
        return
    planned_ns = chunk.t_ns - chunk.timings_ns.get("infer", 0) // 2  # inside its slice
    stations = [(("s1", "plan"), planned_ns), (row, begin_ns)]
    thought_ns = chunk.t_conditioning_ns
    if thought_ns in lineage.thoughts:
        middle_ns = (lineage.thoughts[thought_ns] + thought_ns) // 2
        stations.insert(0, (("s2", "step"), middle_ns))
    if chunk.t_capture_ns:
        if chunk.t_capture_ns not in lineage.captures:  # its picture was not recorded
            _exposure(trace, lineage, "pictures not recorded", chunk.t_capture_ns, -1)
        stations.insert(0, (("camera", lineage.captures[chunk.t_capture_ns]), chunk.t_capture_ns))
    trace.arrow(stations)


def _runs(states: list[RobotState], key: Any) -> Iterator[list[RobotState]]:
    """Neighbours with the same key; each run ends with the first state of the next."""
    run: list[RobotState] = []
    for state in states:
        if run and key(run[-1]) != key(state):
            yield [*run, state]
            run = []
        run.append(state)
    if run:
        yield run


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
