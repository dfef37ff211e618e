"""Ticks back from their durations: the very instants at which a loop on a grid woke."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime.clock import NS_PER_MS, Grid
from tandem.runtime.messages import Tick
from tandem.tools.export.trace import tick_times

RATE_HZ = 200.0


class LateClock:
    """Sleeps as long as asked, and then so much longer as it is told."""

    def __init__(self) -> None:
        self.t_ns = self.late_ns = 0

    def now_ns(self) -> int:
        return self.t_ns

    def sleep_until(self, t_ns: int) -> None:
        self.t_ns = max(self.t_ns, t_ns) + self.late_ns


@given(
    st.lists(st.tuples(st.integers(0, 30 * NS_PER_MS), st.integers(0, 30 * NS_PER_MS)), min_size=1)
)
def test_instants_follow_from_durations(ticks: list[tuple[int, int]]) -> None:
    """However late a tick woke and however long it worked, skipped ticks included."""
    clock = LateClock()
    grid, beats, works = Grid(clock, RATE_HZ), [], []
    for late_ns, work_ns in ticks:
        clock.late_ns = late_ns
        beats.append(grid.wait())
        clock.t_ns += work_ns
        works.append(work_ns)
    tick = Tick(
        source="executor",
        rate_hz=RATE_HZ,
        lateness_ns=np.array([beat.lateness_ns for beat in beats]),
        work_ns=np.array(works),
        missed=sum(beat.skipped for beat in beats),
        t_ns=clock.t_ns,
        valid=True,
    )
    wakes_ns, works_ns = tick_times(tick)
    assert wakes_ns.tolist() == [beat.wake_ns for beat in beats]
    assert works_ns.tolist() == works
