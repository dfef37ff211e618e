"""The executor's ticks as they were: when each was due and woke, and what it saw of the arm.

Telemetry carries every tick's lateness and work, and each batch ends with its last tick, so due
and wake times follow exactly from the grid. States are published once a tick up to 200 Hz.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import ConfigError
from tandem.runtime.messages import RobotState, Tick
from tandem.runtime.pilot import WAITING
from tandem.runtime.streams import STATE
from tandem.tools.export.trace import tick_times
from tandem.tools.record.reader import Recording

_AWAY_NS = 100 * NS_PER_MS
_ON_ITS_WAY_TICKS = 4  # a chunk may be, after it was sent
_ARM_GRID_NS = 2 * NS_PER_MS  # an arm's stamp may be so much older than the tick that read it


@dataclass(frozen=True, slots=True)
class Beat:
    """One tick and the state that it published."""

    due_ns: int
    wake_ns: int
    done_ns: int
    state: RobotState


class Ticks:
    """Every tick from the first recorded state on; iterating reads the states once more.

    Hours of states do not fit into memory, hours of numbers do.

    Raises:
        ConfigError: ticks or states are missing, or were never published for every tick.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        due_ns, wake_ns, done_ns = _ticks(recording)
        first = next(self._states(), None)
        if first is None:
            raise ConfigError(f"{recording.path} holds no states: there was no executor")
        begin = int(np.searchsorted(wake_ns, first.t_ns - _ARM_GRID_NS))
        self._due_ns, self.wake_ns, self._done_ns = due_ns[begin:], wake_ns[begin:], done_ns[begin:]
        self.joined: dict[int, int] = {}  # chunk → the tick that took it in
        self.driven = False  # by an operator, at some time
        self._waited: list[bool] = []  # engaged, and for the first plan
        self._study()

    def __iter__(self) -> Iterator[Beat]:
        columns = zip(self._due_ns, self.wake_ns, self._done_ns, strict=True)
        for (due_ns, wake_ns, done_ns), state in zip(columns, self._states(), strict=False):
            yield Beat(int(due_ns), int(wake_ns), int(done_ns), state)

    def passed_over(self, tick: int) -> bool:
        """A chunk sent in `tick` was not even looked at: the executor waited for its first plan on.

        It had come before the task that it belongs to; between two sockets there is no order.
        """
        later = tick + _ON_ITS_WAY_TICKS
        return later < len(self._waited) and all(self._waited[tick : later + 1])

    def _states(self) -> Iterator[RobotState]:
        return (entry.message for entry in self._recording.entries("state"))

    def _study(self) -> None:
        """Check that states and ticks belong together, and note what only states tell.

        A state names the chunk that is being executed, and so the tick that took it in; the one
        that starts motion was taken in one tick before its motion began.
        """
        before: RobotState | None = None
        for k, beat in enumerate(self):
            state = beat.state
            away = abs(beat.wake_ns - state.t_ns) > _AWAY_NS
            if before is not None and (away or state.seq != before.seq + 1):
                raise ConfigError(
                    f"state {state.seq} does not belong to the tick at {beat.wake_ns}: the "
                    "executor was restarted or away; replay a recording without that"
                )
            if state.chunk_seq >= 0 and state.chunk_seq not in self.joined:
                started = before is not None and before.mode != "policy"
                self.joined[state.chunk_seq] = k - 1 if started else k
            self.driven |= state.mode == "teleop"
            self._waited.append(state.mode == "hold" and state.holding_for == WAITING)
            before = state


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
