"""What `bench franka` makes of a robot's log: pure."""

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.tools.bench import bars, franka


def test_what_a_stall_took_is_not_the_loops():
    stall = np.array([[1000, 1020]]) * NS_PER_MS
    log = [("lost", ms * NS_PER_MS) for ms in (500, 1001, 1019, 1022, 1100)]
    log += [("reflex", 1030 * NS_PER_MS), ("reflex", 1200 * NS_PER_MS)]
    found = franka.evaluate(log, 30_000, stall, (0, 2 * NS_PER_S))
    assert found["lost_in_all_per_minute"] == 10
    assert found["lost_per_minute"] == 4
    assert (found["reflexes"], found["reflexes_outside_stalls"]) == (2, 1)
    assert found["stalled_share"] == 0.01


def test_a_short_stall_excuses_no_reflex():
    stall = np.array([[1000, 1005]]) * NS_PER_MS
    found = franka.evaluate([("reflex", 1010 * NS_PER_MS)], 60_000, stall, (0, NS_PER_S))
    assert found["reflexes_outside_stalls"] == 1


def test_the_bars_are_held_against_the_bare_loop():
    def case(lost: float, reflexes: int = 0) -> dict:
        return {"lost_per_minute": {"p50": lost}, "reflexes_outside_stalls": reflexes}

    assert all(bar.met for bar in bars.franka(case(119.0), case(100.0)))
    assert not all(bar.met for bar in bars.franka(case(121.0), case(100.0)))
    assert not all(bar.met for bar in bars.franka(case(0.0, 1), case(100.0)))
