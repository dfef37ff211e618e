"""What watching costs: the arithmetic of pairs, and the kernel's count of a process that works."""

import subprocess
import sys
import time

import pytest
from tandem.tools.bench import machine, watched


def test_the_difference_is_of_pairs_and_what_it_costs_at_most_is_held():
    """A machine that grows slower meanwhile makes both slower, and hides nothing."""
    alone = [0.10, 0.20, 0.30, 0.40]
    more = [0.011, 0.009, 0.010, 0.010]
    pairs = [
        {"alone": a, "watched": a + m, "console": 0.05} for a, m in zip(alone, more, strict=True)
    ]
    found = watched.analyse(pairs)
    assert found["daemon_more"] == pytest.approx(0.010)
    assert found["daemon_more_error"] < 0.001
    assert [bar.met for bar in watched.held(found)] == [True, True]
    for pair in pairs:
        pair["watched"] += 0.03
        pair["console"] = 0.11
    assert [bar.met for bar in watched.held(watched.analyse(pairs))] == [False, False]


def test_cpu_time_of_a_process_and_of_none():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        begun_s, deadline_s = time.monotonic(), time.monotonic() + 20
        while machine.cpu_time_ns(busy.pid) < 0.2e9:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert machine.cpu_time_ns(busy.pid) < (time.monotonic() - begun_s + 1) * 1e9
        busy.kill()
    assert machine.cpu_time_ns(busy.pid) == 0
    assert machine.cpu_time_ns() == 0
