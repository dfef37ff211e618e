"""The machine: one check a function, from facts to a finding."""

from collections.abc import Callable

from tandem.tools.doctor.finding import Finding, advice, ok, wrong
from tandem.tools.doctor.machine import Machine

MIB = 1 << 20
_SHM_BYTES = 256 * MIB  # rings of a few cameras, sockets, the simulator's black box
_MEMORY_BYTES = 2048 * MIB  # System 2 with its weights, and a margin
_SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies")
_SLEEP_US = 50
_SLACK_NS = 1000
_GROUP = "sudo usermod -aG tandem $USER, after `sudo make service` or with systemd/50-tandem.conf "


def real_time(machine: Machine) -> Finding:
    why = "any other process may delay a command by milliseconds"
    return _asked_for(machine, "scheduling", "real time", "SCHED_FIFO", why)


def locked_memory(machine: Machine) -> Finding:
    why = "a page that was put aside is fetched from disk in the middle of a tick"
    return _asked_for(machine, "memory", "locked memory", "mlockall", why)


def throttling(machine: Machine) -> Finding:
    share = machine.rt_runtime_us
    if 0 <= share < 900_000:
        return advice(
            "real-time share",
            f"{share / 1e4:.0f} % of each second",
            "a busy executor is stopped for the rest of the second",
            "sudo sysctl -w kernel.sched_rt_runtime_us=950000",
        )
    return ok("real-time share", "all" if share < 0 else f"{share / 1e4:.0f} % of each second")


def timer_slack(machine: Machine) -> Finding:
    slack_ns = machine.timer_slack_ns
    if slack_ns is not None and slack_ns > _SLACK_NS:
        return advice(
            "timer slack",
            f"{slack_ns / 1e3:g} µs, though 1 ns was asked for",
            "every sleep may end that much late",
            "run outside the container or sandbox that refuses prctl(PR_SET_TIMERSLACK)",
        )
    return ok("timer slack", "not told" if slack_ns is None else f"{slack_ns} ns when asked")


def deep_sleep(machine: Machine) -> Finding:
    if "deep sleep of the CPU" in machine.refused:
        kept = f", wakes in up to {machine.deepest_sleep_us} µs" if machine.deepest_sleep_us else ""
        sleeps = machine.deepest_sleep_us > _SLEEP_US
        return (wrong if sleeps else advice)(
            "deep sleep of the CPU",
            f"/dev/cpu_dma_latency cannot be opened{kept}",
            "a core that sleeps deeply wakes tens to hundreds of µs late",
            _fix(machine, "deep sleep of the CPU"),
        )
    return ok("deep sleep of the CPU", "kept off while a daemon runs")


def kernel(machine: Machine) -> Finding:
    if machine.preempt_rt:
        return ok("kernel", f"{machine.kernel}, PREEMPT_RT")
    return advice(
        "kernel",
        f"{machine.kernel}, not PREEMPT_RT",
        "the kernel may hold an urgent process up for milliseconds; 1 kHz arms need better",
        "sudo apt-get install linux-image-rt-amd64 (Debian) or sudo pro enable realtime-kernel "
        "(Ubuntu), then restart",
    )


def governor(machine: Machine) -> Finding:
    slow = [name for name in machine.governors if name != "performance"]
    if slow:
        return advice(
            "CPU governor",
            ", ".join(slow),
            "an idle core runs slowly, and the tick that comes then works twice as long",
            "sudo cpupower frequency-set -g performance",
        )
    return ok("CPU governor", "performance" if machine.governors else "none to choose here")


def isolated_cores(machine: Machine) -> Finding:
    if machine.isolated:
        return ok("isolated cores", f"{machine.isolated}; name one in executor.cpu")
    return advice(
        "isolated cores",
        f"none of {machine.cores}",
        "interrupts and other work share the executor's core",
        "boot with isolcpus=managed_irq,domain,N nohz_full=N rcu_nocbs=N, and set executor.cpu: N",
    )


def cores(machine: Machine) -> Finding:
    if machine.cores < 2:
        return wrong(
            "cores",
            f"{machine.cores}",
            "System 2 computes where the executor should tick",
            "give this machine, container or service (CPUAffinity) two cores at least",
        )
    return ok("cores", str(machine.cores))


def huge_pages(machine: Machine) -> Finding:
    if machine.huge_pages == "always":
        return advice(
            "transparent huge pages",
            "always",
            "the kernel moves memory about to make them, and stops who uses it",
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
        )
    return ok("transparent huge pages", machine.huge_pages or "none here")


def swap(machine: Machine) -> Finding:
    if machine.swap_used_bytes > 0:
        return advice(
            "swap",
            f"{machine.swap_used_bytes / MIB:.0f} MiB are swapped out",
            "minds and cameras wait for the disk when they need them again",
            "sudo swapoff -a, and free memory first if that is refused",
        )
    return ok("swap", "unused")


def clock_source(machine: Machine) -> Finding:
    if machine.clock_source in _SLOW_CLOCKS:
        return wrong(
            "clock source",
            machine.clock_source,
            "every look at the clock costs a microsecond or more, and a tick takes dozens",
            "boot with tsc=reliable, or see `dmesg | grep -i tsc` for why it was given up",
        )
    return ok("clock source", machine.clock_source or "not told")


def shared_memory(machine: Machine) -> Finding:
    free_mib = machine.shm_free_bytes / MIB
    if machine.shm_kind != "tmpfs":
        return wrong(
            "/dev/shm",
            machine.shm_kind or "not mounted",
            "images and set-points would travel over a disk",
            "sudo mount -t tmpfs -o size=1g tmpfs /dev/shm",
        )
    if machine.shm_free_bytes < _SHM_BYTES:
        return wrong(
            "/dev/shm",
            f"{free_mib:.0f} MiB free",
            "a process that writes beyond the end of it dies by SIGBUS",
            "sudo mount -o remount,size=1g /dev/shm (docker: --shm-size=1g)",
        )
    return ok("/dev/shm", f"{free_mib:.0f} MiB free")


def memory(machine: Machine) -> Finding:
    free_mib = machine.memory_free_bytes / MIB
    if machine.memory_free_bytes < _MEMORY_BYTES:
        return advice(
            "memory",
            f"{free_mib:.0f} MiB free",
            "System 2 alone takes more than one GiB; the kernel ends whom it likes",
            "end what is not needed: ps --sort=-rss -eo rss,pid,cmd | head",
        )
    return ok("memory", f"{free_mib:.0f} MiB free")


CHECKS: tuple[Callable[[Machine], Finding], ...] = (
    real_time,
    locked_memory,
    throttling,
    timer_slack,
    deep_sleep,
    kernel,
    governor,
    cores,
    isolated_cores,
    huge_pages,
    swap,
    memory,
    clock_source,
    shared_memory,
)


def all_of(machine: Machine) -> list[Finding]:
    return [check(machine) for check in CHECKS]


def _asked_for(machine: Machine, asked: str, name: str, call: str, why: str) -> Finding:
    """What the executor cannot do without, under the name that the runtime has for it."""
    if asked not in machine.refused:
        return ok(name, machine.granted.get(asked, "granted"))
    reason = machine.refused[asked].partition(";")[0]
    return wrong(name, f"{call} refused: {reason}", why, _fix(machine, asked))


def _fix(machine: Machine, name: str) -> str:
    """What the runtime itself would say: it knows who asked, and for what."""
    return machine.refused[name].partition("; ")[2] or f"{_GROUP}in /etc/security/limits.d"
