"""cyclictest of rt-tests as a second opinion on our own probe, where it is installed. µs steps."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tandem.runtime.clock import NS_PER_US
from tandem.tools.bench import children, figures, probe

_HISTOGRAM_US = 50_000
_SLACK_S = 10.0


def installed() -> bool:
    return shutil.which("cyclictest") is not None


def measure(cpu: int, seconds: float) -> figures.Summary:
    """Wake lateness that cyclictest sees on `cpu` with the probe's period and priority."""
    loops = max(1, int(seconds * 1e9 / probe.PERIOD_NS))
    with tempfile.TemporaryDirectory(prefix="tandem-cyclictest-") as folder:
        path = Path(folder) / "result.json"
        command = [
            *("cyclictest", "-q", "-m", "-t1", f"-a{cpu}", f"-p{probe.PRIORITY}"),
            *(f"-i{probe.PERIOD_NS // NS_PER_US}", f"-l{loops}", f"-h{_HISTOGRAM_US}"),
            f"--json={path}",
        ]
        with children.child(command) as process:
            children.finish(process, seconds + _SLACK_S)
        return parse(json.loads(path.read_text()))


def parse(report: dict[str, Any]) -> figures.Summary:
    """Quantiles from its histogram {µs: count}; the maximum may lie beyond it, so its own."""
    thread = report["thread"]["0"]
    counts = {int(us): count for us, count in thread["histogram"].items()}
    values_us = np.repeat(list(counts), list(counts.values()))
    return {**figures.summary_us(np.asarray(values_us) * NS_PER_US), "max": float(thread["max"])}
