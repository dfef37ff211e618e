"""What the kernel says of this machine, from /proc and /sys below a root that tests may move."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

_BYTES_PER_KIB = 1024


@dataclass(frozen=True)
class Machine:
    """Facts; an empty value means that the kernel does not tell, as in many virtual machines.

    `granted` and `refused` are what a child process that asked for real time got, by name.
    """

    cores: int
    preempt_rt: bool
    kernel: str
    granted: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    timer_slack_ns: int | None = None  # of that child, after it asked for 1
    governors: tuple[str, ...] = ()
    isolated: str = ""
    deepest_sleep_us: int = 0  # exit latency of the deepest enabled idle state, 0: not told
    huge_pages: str = ""  # always, madvise, never
    swap_used_bytes: int = 0
    rt_runtime_us: int = 950_000  # FIFO's share of each second; -1: all of it
    clock_source: str = ""
    shm_free_bytes: int = 0
    shm_kind: str = ""
    memory_free_bytes: int = 0


def read(
    granted: dict[str, str],
    refused: dict[str, str],
    timer_slack_ns: int | None,
    root: Path = Path("/"),
) -> Machine:
    cpus = root / "sys/devices/system/cpu"
    memory = _memory(root)
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        preempt_rt=_line(root / "sys/kernel/realtime") == "1"
        or "PREEMPT_RT" in _line(root / "proc/version"),
        kernel=_line(root / "proc/sys/kernel/osrelease"),
        granted=granted,
        refused=refused,
        timer_slack_ns=timer_slack_ns,
        governors=tuple(
            sorted({_line(file) for file in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")})
        ),
        isolated=_line(cpus / "isolated"),
        deepest_sleep_us=_deepest_sleep_us(cpus),
        huge_pages=_chosen(_line(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        swap_used_bytes=memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
        rt_runtime_us=int(_line(root / "proc/sys/kernel/sched_rt_runtime_us") or 950_000),
        clock_source=_line(
            root / "sys/devices/system/clocksource/clocksource0/current_clocksource"
        ),
        shm_free_bytes=_free_bytes(root / "dev/shm"),
        shm_kind=_kind_of_mount(root, "/dev/shm"),
        memory_free_bytes=memory.get("MemAvailable", 0),
    )


def _line(file: Path) -> str:
    """The only line of a file; empty where there is none."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _chosen(line: str) -> str:
    """`always [madvise] never` → madvise."""
    return line.partition("[")[2].partition("]")[0]


def _memory(root: Path) -> dict[str, int]:
    """/proc/meminfo in bytes, by name."""
    pairs = (line.partition(":") for line in _line(root / "proc/meminfo").splitlines())
    return {name: int(rest.split()[0]) * _BYTES_PER_KIB for name, _, rest in pairs if rest}


def _deepest_sleep_us(cpus: Path) -> int:
    states = (s for s in cpus.glob("cpu0/cpuidle/state*") if _line(s / "disable") != "1")
    return max((int(_line(state / "latency") or 0) for state in states), default=0)


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _kind_of_mount(root: Path, folder: str) -> str:
    """The file system that is mounted there, the last one mounted; empty: none is."""
    mounts = (line.split() for line in _line(root / "proc/mounts").splitlines())
    kinds = [words[2] for words in mounts if len(words) > 2 and words[1] == folder]
    return kinds[-1] if kinds else ""
