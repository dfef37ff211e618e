"""The idioms keep the promise that each of them is known for, on the real clock, coarsely."""

import time

import numpy as np
import pytest
from tandem.tools.bench import children, paced, runs
from tandem.tools.bench.idioms import IDIOMS, ON_GRID

RATE_HZ = 100.0


def _record(name: str, ticks: int = 20) -> runs.Stamps:
    rows = []

    def record(due_ns, wake_ns):
        rows.append((due_ns, wake_ns))
        return len(rows) < ticks

    IDIOMS[name](RATE_HZ, lambda: time.sleep(0.001), record)
    due_ns, wake_ns = np.array(rows).T
    return runs.Stamps(np.arange(ticks), due_ns, wake_ns, grid=name in ON_GRID)


@pytest.mark.parametrize("name", IDIOMS)
def test_it_never_wakes_before_its_own_deadline_by_more_than_clock_noise(name):
    stamps = _record(name)
    # Wall-clock idioms may see a slewed clock; a tenth of the period would be a wrong deadline.
    assert np.all(stamps.wake_ns - stamps.due_ns > -1_000_000)


@pytest.mark.parametrize("name", sorted(ON_GRID))
def test_grid_idioms_aim_at_the_grid(name):
    steps = np.diff(_record(name).due_ns)
    assert np.all(steps % 10_000_000 == 0)
    assert np.all(steps > 0)


@pytest.mark.parametrize("name", sorted(set(IDIOMS) - ON_GRID))
def test_the_others_aim_a_period_after_their_own_last_wake(name):
    stamps = _record(name)
    ahead = stamps.due_ns[1:] - stamps.wake_ns[:-1]
    assert np.median(ahead) == pytest.approx(10_000_000, abs=1_000_000)


@pytest.mark.process
@pytest.mark.parametrize("name", ["time_sleep", "absolute_sleep"])
def test_a_paced_process_writes_every_stamp(tmp_path, name):
    path = tmp_path / "stamps.npz"
    command = children.module("paced", name, 200.0, 0.8, path, -1, 0)
    with children.child(command, ready_s=30) as process:
        children.finish(process, 30)
    stamps, cpu_share = paced.load(str(path), name, 200.0)
    assert 10 < len(stamps) <= 165
    assert 0.0 < cpu_share < 1.0
    result = runs.evaluate(runs.Run(200.0, stamps, None, cpu_share))
    assert result["missed"] == result["unexplained"]
