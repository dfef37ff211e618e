"""What the kernel says of the processes that are watched: what they use, and were granted.

A loop's own word about real time was said before we came; /proc says what holds now.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from tandem.runtime.clock import NS_PER_S
from tandem.tools.console import gpu
from tandem.tools.console.figures import Machine, Process

_PERIOD_NS = 1 * NS_PER_S
_PAGE = os.sysconf("SC_PAGE_SIZE")
_JIFFY_NS = NS_PER_S // os.sysconf("SC_CLK_TCK")
_LATENCY_DEVICE = "/dev/cpu_dma_latency"
_POLICIES = {os.SCHED_FIFO: "FIFO", os.SCHED_RR: "RR"}
_MIB = 1 << 20


class Meter:
    """Looks once a second. `processes` and `machine` are what it saw last."""

    def __init__(self) -> None:
        self.processes: dict[str, Process] = {}
        self.machine = Machine()
        self._due_ns = 0
        self._spent_ns: dict[int, tuple[int, int]] = {}  # pid: (when, CPU time until then)
        self._busy: tuple[int, int] | None = None  # jiffies: (busy, all)
        self._own = time.monotonic_ns(), time.process_time_ns()
        self._gpus = gpu.Query()

    def look(self, now_ns: int, pids: Mapping[str, int], priority: int = 0) -> None:
        """`pids` by role; `priority`: the real time that the executor's configuration asks for."""
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + _PERIOD_NS
        found = {role: self._process(now_ns, pid) for role, pid in pids.items()}
        self.processes = {role: process for role, process in found.items() if process is not None}
        executor = self.processes.get("executor")
        if executor is not None and priority and not executor.scheduling.startswith("FIFO"):
            self.processes["executor"] = _refused(executor)
        self._spent_ns = {p: v for p, v in self._spent_ns.items() if p in pids.values()}
        self.machine = self._machine()

    def close(self) -> None:
        self._gpus.close()

    def _process(self, now_ns: int, pid: int) -> Process | None:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{pid}/status").read_text()
            policy, priority = os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority
            cores = os.sched_getaffinity(pid)
        except OSError:  # it has just ended
            return None
        spent_ns = (int(fields[11]) + int(fields[12])) * _JIFFY_NS
        before = self._spent_ns.get(pid)
        self._spent_ns[pid] = now_ns, spent_ns
        return Process(
            pid=pid,
            cpu=_share(before, (now_ns, spent_ns)),
            memory_mib=round(int(fields[21]) * _PAGE / _MIB, 1),
            threads=int(fields[17]),
            scheduling=_scheduling(policy & ~os.SCHED_RESET_ON_FORK, priority, int(fields[16])),
            cores=_ranges(cores),
            locked_mib=round(_kib(status, "VmLck") / 1024, 1),
            timer_slack_ns=_timer_slack_ns(pid),
            awake=_keeps_awake(pid),
        )

    def _machine(self) -> Machine:
        memory = Path("/proc/meminfo").read_text()
        total, free = _kib(memory, "MemTotal") / 1024, _kib(memory, "MemAvailable") / 1024
        own, self._own = self._own, (time.monotonic_ns(), time.process_time_ns())
        busy, self._busy = self._busy, _jiffies()
        cpu = None
        if busy is not None and self._busy[1] > busy[1]:
            cpu = round((self._busy[0] - busy[0]) / (self._busy[1] - busy[1]), 4)
        return Machine(
            cores=os.cpu_count() or 0,
            cpu=cpu,
            memory_mib=round(total - free, 1),
            memory_total_mib=round(total, 1),
            console_cpu=_share(own, self._own),
            gpus=self._gpus.look(self._own[0]),
        )


def _share(before: tuple[int, int] | None, now: tuple[int, int]) -> float | None:
    if before is None or now[0] <= before[0]:
        return None
    return round((now[1] - before[1]) / (now[0] - before[0]), 4)


def _refused(process: Process) -> Process:
    names = (f for f in process.__struct_fields__ if f != "refused")
    return Process(**{name: getattr(process, name) for name in names}, refused=True)


def _scheduling(policy: int, priority: int, nice: int) -> str:
    if policy in _POLICIES:
        return f"{_POLICIES[policy]} {priority}"
    return f"nice {nice}" if nice else "ordinary"


def _ranges(cores: set[int]) -> str:
    """{0, 1, 2, 5} → "0-2,5"."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs)


def _kib(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _timer_slack_ns(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/timerslack_ns").read_text())
    except (OSError, ValueError):
        return None


def _keeps_awake(pid: int) -> bool:
    """Whether it holds the device open that forbids deep sleep of the CPU."""
    try:
        files = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    return any(_target(f"/proc/{pid}/fd/{name}") == _LATENCY_DEVICE for name in files)


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed since it was listed
        return ""


def _jiffies() -> tuple[int, int]:
    with open("/proc/stat") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)
