"""The last two minutes of what the arm was asked to follow, a row per millisecond, in a file.

It lives in shared memory and is written in place, so it survives any process's death: a flight
recorder, not a stream. `era` counts how often the arm was put elsewhere by hand (reset, teleport);
differences across an era mean nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import WireError

DOF = 7
KEEP_S = 120
_MAGIC = 0x54414E44454D4242  # "TANDEMBB"
_HEADER_WORDS = 8  # magic, rows kept, period_ns, rows ever written
_ROW = np.dtype(
    [
        ("t_ns", "<i8"),
        ("era", "<i4"),
        ("coasting", "<i4"),
        ("q", "<f8", DOF),
        ("dq", "<f8", DOF),
        ("ddq", "<f8", DOF),
    ]
)


@dataclass(frozen=True)
class Record:
    """Rows oldest first: t_ns [N], era [N], coasting [N] bool, q, dq, ddq [N, 7]."""

    t_ns: np.ndarray
    era: np.ndarray
    coasting: np.ndarray
    q: np.ndarray
    dq: np.ndarray
    ddq: np.ndarray

    def between(self, t_from_ns: int, t_to_ns: int) -> "Record":
        keep = (self.t_ns >= t_from_ns) & (self.t_ns <= t_to_ns)
        return Record(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Extremes:
    """Largest |finite difference| of the set-point position at plant rate, [7] each."""

    velocity: np.ndarray  # rad/s
    acceleration: np.ndarray  # rad/s²
    jerk: np.ndarray  # rad/s³
    rows: int


class BlackBox:
    """The writer."""

    def __init__(self, path: Path, period_ns: int, keep: int | None = None) -> None:
        keep = keep or KEEP_S * NS_PER_S // period_ns
        size = _HEADER_WORDS * 8 + keep * _ROW.itemsize
        path.unlink(missing_ok=True)  # readers of an earlier run keep their file
        memory = np.memmap(path, np.uint8, "w+", shape=(size,))
        self._header = memory[: _HEADER_WORDS * 8].view("<i8")
        self._rows = memory[_HEADER_WORDS * 8 :].view(_ROW)
        self._columns = [self._rows[name] for name in _ROW.names or ()]
        self._keep, self._count = keep, 0
        self._header[:4] = (_MAGIC, keep, period_ns, 0)

    def add(
        self,
        t_ns: int,
        era: int,
        coasting: bool,
        q: np.ndarray,
        dq: np.ndarray,
        ddq: np.ndarray,
    ) -> None:
        at = self._count % self._keep
        for column, value in zip(self._columns, (t_ns, era, coasting, q, dq, ddq), strict=True):
            column[at] = value
        self._count += 1
        self._header[3] = self._count


def read(path: Path) -> Record:
    """Copy everything that is kept.

    Raises:
        WireError: there is no black box at `path`.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise WireError(f"no black box at {path}: {error}; is the simulator running?") from error
    head = _HEADER_WORDS * 8
    if len(data) < head or int(data[:8].view("<i8")[0]) != _MAGIC:
        raise WireError(f"{path} is not a black box")
    _, keep, _, count = (int(v) for v in data[:head].view("<i8")[:4])
    rows = data[head:].view(_ROW)
    oldest = max(0, count - keep)
    rows = rows[np.arange(oldest, count) % keep]
    if oldest:
        # Rows that were overwritten while we copied are newer than their neighbours: cut them off.
        torn = np.flatnonzero(np.diff(rows["t_ns"]) <= 0)
        rows = rows[torn[-1] + 1 if len(torn) else 1 :]
    columns = {name: rows[name].copy() for name in _ROW.names or ()}
    columns["coasting"] = columns["coasting"] != 0
    return Record(**columns)


def extremes(path: Path, t_from_ns: int, t_to_ns: int) -> Extremes:
    """How hard the arm was driven between two times.

    Raises:
        WireError: no black box, or fewer than four rows between these times.
    """
    return extremes_of(read(path).between(t_from_ns, t_to_ns))


def extremes_of(record: Record) -> Extremes:
    """As `extremes`, of rows already read. Differences are taken within one era only."""
    peaks = np.zeros((3, DOF))
    rows = 0
    for era in np.unique(record.era):
        mine = record.era == era
        t_s, q = record.t_ns[mine] / NS_PER_S, record.q[mine]
        if len(q) < 4:
            continue
        rows += len(q)
        values = q
        step_s = np.median(np.diff(t_s))
        for order in range(3):
            values = np.diff(values, axis=0) / step_s
            peaks[order] = np.maximum(peaks[order], np.abs(values).max(axis=0))
    if rows == 0:
        raise WireError("the black box holds nothing for that time; it keeps two minutes")
    return Extremes(peaks[0], peaks[1], peaks[2], rows)
