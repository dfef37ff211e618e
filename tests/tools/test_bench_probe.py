"""The probe as it is: compiled, run, read back; and what becomes of its children."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tandem.runtime.errors import DeviceTimeoutError, TandemError
from tandem.tools.bench import children, cyclictest, machine, probe

pytestmark = pytest.mark.process
real_time = pytest.mark.skipif(not machine.fifo_granted(), reason="SCHED_FIFO is refused here")
compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler here")


def test_the_words_of_the_file_become_stamps():
    words = np.array([1000, 10, 3, 5, 0, 1001, 1012, 1025, 0, 0])
    stamps = probe.parse(words)
    assert stamps.due_ns.tolist() == [1000, 1010, 1020]
    assert stamps.wake_ns.tolist() == [1001, 1012, 1025]


@compiler
def test_it_is_built_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    binary = probe.build()
    built_ns = binary.stat().st_mtime_ns
    assert probe.build() == binary
    assert binary.stat().st_mtime_ns == built_ns
    assert list(binary.parent.iterdir()) == [binary]


def test_without_a_compiler_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TandemError, match="apt-get install gcc"):
        probe.build()


@compiler
@real_time
def test_it_records_every_wake_on_its_grid():
    before_ns = time.monotonic_ns()
    with probe.running(0, seconds=30.0) as running:
        time.sleep(0.5)
        stamps = running.read()
    assert len(stamps) > 100
    assert set(np.diff(stamps.due_ns).tolist()) == {probe.PERIOD_NS}
    assert np.all(stamps.wake_ns >= stamps.due_ns)
    assert before_ns < stamps.due_ns[0] < stamps.wake_ns[-1] < time.monotonic_ns()


@real_time
@pytest.mark.skipif(not cyclictest.installed(), reason="rt-tests is not installed")
def test_cyclictest_gives_the_same_kind_of_figures():
    summary = cyclictest.measure(0, 0.5)
    assert 0 < summary["p50"] <= summary["p99"] <= summary["max"]


def test_a_histogram_of_cyclictest_is_read_in_microseconds():
    report = {"thread": {"0": {"histogram": {"3": 98, "40": 2}, "max": 51_000}}}
    summary = cyclictest.parse(report)
    assert summary == {"p50": 3.0, "p99": 40.0, "p999": 40.0, "max": 51_000.0}


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _alive(pid)


def _session(leader: int) -> list[int]:
    ps = ["ps", "-o", "pid=", "-s", str(leader)]
    return [int(word) for word in subprocess.run(ps, capture_output=True).stdout.split()]


SLEEPER = [sys.executable, "-S", "-c", "import time; print('ready', flush=True); time.sleep(100)"]
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); "


def test_a_child_goes_with_its_block_even_on_an_error():
    with pytest.raises(KeyboardInterrupt), children.child(SLEEPER, ready_s=10) as process:
        raise KeyboardInterrupt
    assert _gone(process.pid)


def test_a_child_that_ignores_us_is_killed_with_all_of_its_session():
    code = DEAF + "import subprocess; subprocess.run(['sleep', '100'])"
    with children.child([sys.executable, "-c", code], ready_s=10, grace_s=0.2) as process:
        deadline = time.monotonic() + 10
        while len(pids := _session(process.pid)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert len(pids) == 2
    assert all(_gone(pid) for pid in pids)


def test_a_child_that_never_gets_ready_is_an_error_and_leaves():
    with pytest.raises(DeviceTimeoutError, match="not ready"), children.child(["sleep", "9"], 0.3):
        pass
    with pytest.raises(TandemError, match="ended before"), children.child(["true"], 10):
        pass


def test_a_child_that_fails_is_told():
    with children.child(["false"]) as process, pytest.raises(TandemError, match="code 1"):
        children.finish(process, 10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_survives_the_bench(tmp_path, number):
    """Ctrl-C, SIGTERM and even SIGKILL of the parent end a real load process."""
    code = (
        "from tandem.tools.bench import children\n"
        "with children.orderly_termination():\n"
        "    with children.child(children.module('paced', 'time_sleep', 50, 100,\n"
        f"        {str(tmp_path / 'x')!r}, -1, 0), ready_s=30) as process:\n"
        "        print(process.pid, flush=True)\n"
        "        process.wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    )
    with parent:
        pid = int(parent.stdout.readline())
        assert _alive(pid)
        os.kill(parent.pid, number)
        parent.wait(20)
    assert _gone(pid)
