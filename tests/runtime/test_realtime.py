"""What the system grants is reported; what it refuses comes with the way out, and never raises."""

import gc
import os
import signal
import subprocess
import sys

from tandem.runtime import realtime

ASK = "from tandem.runtime.realtime import real_time; import os;"


def child(code: str, **kwargs) -> str:
    """Scheduling is asked for in a process of its own: these tests must stay ordinary."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **kwargs
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_reported_is_what_the_kernel_says():
    core = min(os.sched_getaffinity(0))
    out = child(
        f"{ASK} g = real_time(20, {core});"
        "print(g.facts['scheduling'], '|', os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK,"
        "os.sched_getparam(0).sched_priority, '|', os.sched_getaffinity(0))"
    )
    scheduling, kernel, cores = (part.strip() for part in out.split("|"))
    granted = kernel == f"{int(os.SCHED_FIFO)} 20"
    assert scheduling == ("FIFO 20" if granted else "refused")
    assert cores == f"{{{core}}}"


def test_a_refusal_names_the_command_that_helps():
    out = child(
        "import os, resource;"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0));"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0));"
        "from tandem.runtime.realtime import real_time;"
        "os.getuid() == 0 and os.setresuid(65534, 65534, 65534);"
        "[print(f'{k}: {v}') for k, v in real_time(80, 9999).lines().items()]",
        env=os.environ | {"USER": "robot"},
    )
    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert "robot - rtprio 99" in lines["scheduling"]
    assert "robot - memlock unlimited" in lines["memory"]
    assert lines["core"].startswith("refused"), "there is no such core"
    assert "choose one of" in lines["core"]
    assert lines["timer slack"] == "1 ns"


def test_children_of_a_real_time_loop_start_ordinary():
    out = child(
        f"{ASK} real_time(20);print(os.popen('chrt -p $$ 2>/dev/null || echo SCHED_OTHER').read())"
    )
    assert "SCHED_OTHER" in out


def test_priority_zero_stays_ordinary():
    granted = realtime.real_time(0)
    assert "scheduling" not in granted.facts
    assert "memory" not in granted.facts
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    if granted.latency_fd is not None:
        os.close(granted.latency_fd)


def test_nice_steps_back():
    out = child("from tandem.runtime.realtime import nice; import os; nice(7); print(os.nice(0))")
    assert out.strip() == "7"


def test_garbage_is_frozen():
    try:
        realtime.freeze_garbage()
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.enable()


def test_sigterm_asks_for_the_end_and_ctrl_c_is_ignored():
    ended = []
    before = signal.getsignal(signal.SIGTERM)
    with realtime.ending_on_term(lambda: ended.append(True)):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert ended == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_time_asleep_only_grows():
    first = realtime.suspended_ns()
    assert -1e6 < realtime.suspended_ns() - first < 1e9
