"""Facts about the machine that a figure means nothing without."""

import contextlib
import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("numpy", "pyzmq", "msgspec", "uvloop", "ruckig", "mujoco", "torch", "tandem-robot")


def facts() -> dict[str, Any]:
    """Kernel, cores, governor, what real time was granted, revision. Nothing here raises."""
    return {
        "revision": revision(),
        "kernel": f"{platform.system()} {platform.release()} {platform.version()}",
        "preempt_rt": _text("/sys/kernel/realtime") == "1",
        "cpu": _cpu_model(),
        "virtual": "hypervisor" in _text("/proc/cpuinfo"),
        "cores": cores(),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "none",
        "clocksource": _text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "rt_runtime_us": _text("/proc/sys/kernel/sched_rt_runtime_us"),
        "fifo_granted": fifo_granted(),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@functools.cache
def fifo_granted() -> bool:
    """Would this user get SCHED_FIFO? Asked in a child, so that this process stays ordinary."""
    code = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
    with contextlib.suppress(OSError):
        return (
            subprocess.run([sys.executable, "-S", "-c", code], capture_output=True).returncode == 0
        )
    return False


def revision() -> str:
    """Git revision of the tree that this file is in, with "+" when tracked files differ."""
    here = Path(__file__).resolve().parent
    head = _git(here, "rev-parse", "--short=12", "HEAD")
    changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    return f"{head}+" if head and changed else head or "unknown"


def steal_s() -> float:
    """Seconds since boot that the hypervisor ran somebody else while a core had work."""
    fields = _text("/proc/stat").split("\n")[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK") if len(fields) > 8 else 0.0


def cpu_time_ns(*pids: int) -> int:
    """CPU time of all threads of these processes that live, nanoseconds."""
    total_ns = 0
    for task in (task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/schedstat")):
        with contextlib.suppress(OSError, IndexError):  # a thread that ends meanwhile
            total_ns += int(task.read_text().split()[0])
    return total_ns


def _git(folder: Path, *arguments: str) -> str:
    with contextlib.suppress(OSError):
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
        return result.stdout.strip() if result.returncode == 0 else ""
    return ""


def _cpu_model() -> str:
    for line in _text("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
