"""The executor's ticks as they were: when each was due and woke, and what it saw of the arm.

Telemetry carries every tick's lateness and work, and each batch ends with its last tick, so due
and wake times follow exactly from the grid. States are published once a tick up to 200 Hz.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import ConfigError
from tandem.runtime.messages import RobotState, Tick
from tandem.runtime.streams import STATE
from tandem.tools.export.trace import tick_times
from tandem.tools.record.reader import Recording

_ARM_GRID_NS = 2 * NS_PER_MS  # an arm's stamp may be so much older than the tick that read it


@dataclass(frozen=True, slots=True)
class Beat:
    """One tick and the state that it published."""

    due_ns: int
    wake_ns: int
    done_ns: int
    state: RobotState


def beats(recording: Recording) -> list[Beat]:
    """Every tick of the executor from the first recorded state on.

    Raises:
        ConfigError: ticks or states are missing, or were never published for every tick.
    """
    due_ns, wake_ns, done_ns = _ticks(recording)
    states = [entry.message for entry in recording.entries("state")]
    if not states:
        raise ConfigError(f"{recording.path} holds no states: there was no executor")
    first = int(np.searchsorted(wake_ns, states[0].t_ns - _ARM_GRID_NS))
    n = min(len(states), len(wake_ns) - first)
    found = [
        Beat(int(due_ns[k]), int(wake_ns[k]), int(done_ns[k]), state)
        for k, state in zip(range(first, first + n), states, strict=False)
    ]
    for before, after in pairwise(found):
        apart_ns = abs(after.wake_ns - after.state.t_ns)
        if after.state.seq != before.state.seq + 1 or apart_ns > 100 * NS_PER_MS:
            raise ConfigError(
                f"state {after.state.seq} does not belong to the tick at {after.wake_ns}: "
                "the executor was restarted or away; replay a recording without that"
            )
    return found


def _ticks(recording: Recording) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """due, wake and done [N] int64."""
    rows = [_row(tick) for tick in _batches(recording)]
    if not rows:
        raise ConfigError(f"{recording.path} holds no ticks of an executor")
    due, wake, done = (np.concatenate(column) for column in zip(*rows, strict=True))
    return due, wake, done


def _row(tick: Tick) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wake_ns, work_ns = tick_times(tick)
    return wake_ns - tick.lateness_ns, wake_ns, wake_ns + work_ns


def _batches(recording: Recording) -> Iterator[Tick]:
    last = -1
    for entry in recording.entries("tick"):
        tick = entry.message
        if entry.source != "executor" or not tick.work_ns.size:
            continue
        if tick.rate_hz > STATE.rate_hz:
            raise ConfigError(
                f"the executor ran at {tick.rate_hz:g} Hz, of which states are published at "
                f"{STATE.rate_hz:g}: what it saw in between is not recorded"
            )
        if last >= 0 and tick.seq != last + 1:
            raise ConfigError(f"ticks of the executor are missing before number {tick.seq}")
        last = tick.seq
        yield tick
