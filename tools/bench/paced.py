"""A process of one pacing idiom that writes every stamp: `python -m … IDIOM RATE S FILE …`."""

import gc
import os
import sys
import time

import numpy as np
from tandem.runtime.clock import NS_PER_S
from tandem.tools.bench.idioms import IDIOMS, ON_GRID
from tandem.tools.bench.runs import Stamps

BODY_NS = 100_000  # about what a control step costs; the same for every idiom
_WARM_UP_TICKS = 20


class _Recorder:
    """Fills `stamps` [N, 2] in place, so that recording allocates nothing, until `end_ns`."""

    def __init__(self, stamps: np.ndarray, end_ns: int) -> None:
        self._stamps, self._end_ns = stamps, end_ns
        self.count = 0

    def record(self, due_ns: int, wake_ns: int) -> bool:
        self._stamps[self.count] = due_ns, wake_ns
        self.count += 1
        return wake_ns < self._end_ns and self.count < len(self._stamps)


def main(name: str, rate: str, seconds: str, path: str, cpu: str, priority: str) -> None:
    _schedule(int(cpu), int(priority))
    gc.disable()
    rate_hz = float(rate)
    stamps = np.zeros((int(rate_hz * float(seconds) * 2) + _WARM_UP_TICKS, 2), dtype=np.int64)
    print("ready", flush=True)
    cpu_ns, wall_ns = time.process_time_ns(), time.monotonic_ns()
    recorder = _Recorder(stamps, wall_ns + round(float(seconds) * NS_PER_S))
    IDIOMS[name](rate_hz, _body, recorder.record)
    used = (time.process_time_ns() - cpu_ns) / (time.monotonic_ns() - wall_ns)
    np.savez(path, stamps=stamps[: recorder.count], cpu_share=used)


def load(path: str, name: str, rate_hz: float) -> tuple[Stamps, float]:
    """(stamps, share of a core) out of the file that a paced process wrote."""
    with np.load(path) as file:
        due_ns, wake_ns = file["stamps"][_WARM_UP_TICKS:].T
        grid = name in ON_GRID
        index = np.arange(len(due_ns), dtype=np.int64)
        if grid and len(due_ns):
            index = (due_ns - due_ns[0]) // round(NS_PER_S / rate_hz)
        return Stamps(index, due_ns, wake_ns, grid=grid), float(file["cpu_share"])


def _body() -> None:
    end_ns = time.monotonic_ns() + BODY_NS
    while time.monotonic_ns() < end_ns:
        pass


def _schedule(cpu: int, priority: int) -> None:
    """Pin to `cpu` (-1: no) and take FIFO `priority` (0: stay ordinary, as these loops are run)."""
    if cpu >= 0:
        os.sched_setaffinity(0, {cpu})
    if priority > 0:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))


if __name__ == "__main__":
    main(*sys.argv[1:])
