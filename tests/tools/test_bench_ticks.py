"""Ticks out of batches: whatever a real Grid and a real Tap tell, no tick is lost or misplaced."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.runtime import messages
from tandem.runtime.clock import NS_PER_MS, Grid, VirtualClock
from tandem.runtime.errors import WireError
from tandem.runtime.messages import Tick
from tandem.runtime.telemetry import Tap
from tandem.tools.bench import runs, ticks

MS = NS_PER_MS


class _Wire:
    """A publisher that keeps what went over the wire."""

    def __init__(self):
        self.sent = []

    def send(self, message):
        message.seq = len(self.sent)
        self.sent.append(messages.decode(Tick, messages.encode(message)))
        return message.seq

    def refresh(self, now_ns):
        pass


class _LateClock(VirtualClock):
    """Wakes late by what it is told."""

    late_ns = 0

    def sleep_until(self, t_ns):
        super().sleep_until(t_ns + (self.late_ns if t_ns > self.now_ns() else 0))


def _drive(pauses, rate_hz=1000.0):
    """Run a loop of (late wake, work) pairs; returns the real beats and the batches."""
    clock, wire = _LateClock(), _Wire()
    grid, tap, beats = Grid(clock, rate_hz), Tap("executor", rate_hz, wire), []
    tap.flush(clock.now_ns())
    for late_ns, work_ns in pauses:
        clock.late_ns = late_ns
        beat = grid.wait()
        beats.append(beat)
        tap.sample(ticks.SEND, beat.lateness_ns + work_ns)
        clock.sleep_until(clock.now_ns() + work_ns - clock.late_ns if work_ns > late_ns else 0)
        tap.tick(beat, clock.now_ns() - beat.wake_ns)
        tap.flush(clock.now_ns())
    tap.flush(clock.now_ns(), force=True)
    return beats, wire.sent


PAUSES = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 200_000), st.integers(0, 20 * MS)),
        st.one_of(st.integers(1000, 300_000), st.integers(0, 12 * MS)),
    ),
    min_size=1,
    max_size=400,
)


@settings(deadline=None)
@given(PAUSES)
def test_every_tick_comes_back_where_it_was(pauses):
    beats, batches = _drive(pauses)
    found = ticks.stamps(batches)
    assert len(found) == len(beats)
    assert found.index.tolist() == [beat.index - beats[0].index for beat in beats]
    lateness_ns = found.wake_ns - found.due_ns
    assert lateness_ns.tolist() == [beat.lateness_ns for beat in beats]
    # The origin is known to within the work of one tick, and the same for all.
    origin_ns = found.due_ns - np.array([beat.due_ns for beat in beats])
    assert len(set(origin_ns.tolist())) == 1
    assert 0 <= origin_ns[0] <= 20 * MS
    assert len(runs.missed_due_ns(found, 1000.0)) >= sum(beat.skipped for beat in beats[1:])


def test_send_lateness_comes_back_beside_each_tick():
    _, batches = _drive([(10_000, 50_000)] * 300)
    found = ticks.stamps(batches)
    assert set(found.send_late_ns.tolist()) == {60_000}


def test_a_lost_batch_is_refused_rather_than_passed_over():
    _, batches = _drive([(0, 1000)] * 400)
    assert len(batches) > 4
    with pytest.raises(WireError, match="were lost"):
        ticks.stamps(batches[:2] + batches[3:])


def test_nothing_heard_is_no_ticks():
    assert len(ticks.stamps([])) == 0


def test_skips_that_do_not_add_up_go_behind_the_latest_tick():
    skips = ticks._skips(np.array([0, 1_999_999, 100]), 1, MS)
    assert skips.tolist() == [0, 1, 0]
