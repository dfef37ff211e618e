"""Facts that only trying tells, each tried in a process of its own: a crash there is an answer."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

_REAL_TIME = """
import json
from pathlib import Path
from tandem.runtime.realtime import real_time
granted = real_time(80)
slack = Path("/proc/self/timerslack_ns")
print(json.dumps([granted.facts, granted.refused, int(slack.read_text())]))
"""
_RENDER = """
import json
from tandem.drivers.sim import gl
backend = gl.choose_backend()
gl.require_backend()
import mujoco
body = "<light pos='0 0 3'/><geom size='1 1 1' type='box'/>"
model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{body}</worldbody></mujoco>")
with mujoco.Renderer(model, 32, 32) as renderer:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer.update_scene(data)
    print(json.dumps([backend, int(renderer.render().max())]))
"""
_PROVIDER = """
import json, sys
import onnxruntime
onnxruntime.set_default_logger_severity(4)
wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
there = [name for name in wanted if name in onnxruntime.get_available_providers()]
print(json.dumps(onnxruntime.InferenceSession(sys.argv[1], providers=there).get_providers()[0]))
"""
_LATENESS = """
import json, sys
from tandem.runtime.clock import MonotonicClock
from tandem.runtime.histogram import Histogram
from tandem.runtime.realtime import freeze_garbage, real_time
real_time(80)
freeze_garbage()
clock, late, period_ns = MonotonicClock(), Histogram(), 1_000_000
due_ns = clock.now_ns() + period_ns
end_ns = due_ns + round(float(sys.argv[1]) * 1e9)
while due_ns < end_ns:
    clock.sleep_until(due_ns)
    now_ns = clock.now_ns()
    late.record(now_ns - due_ns)
    due_ns += period_ns * max((now_ns - due_ns) // period_ns + 1, 1)
q = late.quantiles()
print(json.dumps([q.n, q.p50, q.p99, q.p999, q.max]))
"""


@dataclass(frozen=True)
class Tried:
    """What came of it: the answer, or how it ended and its last line."""

    answer: Any = None
    failed: str = ""


def attempt(code: str, *words: str, timeout_s: float = 60.0) -> Tried:
    """Run `code` in a fresh interpreter; its last line is its answer, as JSON."""
    argv = [sys.executable, "-c", code, *words]
    try:
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Tried(failed=f"no answer within {timeout_s:g} s")
    if ended.returncode < 0:
        return Tried(failed=f"crashed by {signal.Signals(-ended.returncode).name}")
    if ended.returncode:
        return Tried(failed=(ended.stderr.strip().splitlines() or ["no reason given"])[-1])
    try:
        return Tried(json.loads(ended.stdout.strip().splitlines()[-1]))
    except (IndexError, ValueError):
        return Tried(failed="it gave no answer")


def real_time() -> tuple[dict[str, str], dict[str, str], int | None]:
    """(granted, refused, timer slack in ns) of a process that asks as the executor does."""
    tried = attempt(_REAL_TIME)
    if tried.failed:
        return {}, {"scheduling": f"the attempt failed: {tried.failed}"}, None
    granted, refused, slack_ns = tried.answer
    return granted, refused, slack_ns


def render() -> Tried:
    """[back-end, brightest value of a picture]."""
    return attempt(_RENDER)


def provider(model: str) -> Tried:
    """What ONNX Runtime really computes on with this model file, a GPU being preferred."""
    return attempt(_PROVIDER, model)


def lateness(seconds: float) -> Tried:
    """[n, p50, p99, p99.9, max] in ns of a 1 kHz loop, woken as the executor is."""
    return attempt(_LATENESS, str(seconds), timeout_s=seconds + 30)
