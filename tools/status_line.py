"""One line that says how the robot is: rewritten in place on a terminal, plain lines in a pipe."""

import os
import shutil
import sys
import time
from typing import TextIO

from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.summary import Summary

_TERMINAL_PERIOD_S = 0.2
_PIPE_PERIOD_S = 2.0
_JOURNAL_PERIOD_S = 60.0  # a service runs for weeks; `systemctl status` shows the line of now
_ERASE = "\r\x1b[2K"
# The executor's names for what it measures, in `Tick`.
SEAM = "seam_sent_q_rad"
LATENCY = "camera_command"


class StatusLine:
    """`say` prints a lasting line above it; `show` redraws it when it is time."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._terminal = self._out.isatty()
        piped_s = _JOURNAL_PERIOD_S if "JOURNAL_STREAM" in os.environ else _PIPE_PERIOD_S
        self._period_s = _TERMINAL_PERIOD_S if self._terminal else piped_s
        self._due_s = 0.0
        self._drawn = False

    def say(self, text: str) -> None:
        self.erase()
        print(text, file=self._out, flush=True)

    def show(self, line: str) -> None:
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._period_s
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            self._out.write(f"{_ERASE}{line[: columns - 1]}")
            self._out.flush()
            self._drawn = True
        else:
            print(line, file=self._out, flush=True)

    def erase(self) -> None:
        if self._drawn:
            self._out.write(_ERASE)
            self._drawn = False


def describe(summary: Summary, instruction: str, now_ns: int) -> str:
    """The figures that matter, most urgent first: narrow terminals cut off the end."""
    parts = [_mode(summary, now_ns), *_faults(summary)]
    if instruction:
        parts.append(f"“{instruction}”")
    parts += [*_s2(summary, now_ns), *_executor(summary)]
    return " · ".join(parts)


def _mode(summary: Summary, now_ns: int) -> str:
    state = summary.state.newest
    if state is None:
        return "no state yet"
    if not summary.state.fresh(now_ns):
        silence_s = (now_ns - state.t_ns) / NS_PER_S
        return f"{state.mode}? (silent for {silence_s:.1f} s)"
    slowed = f" {state.pace:.0%}" if state.mode == "policy" and state.pace < 0.995 else ""
    because = f" ({state.holding_for})" if state.holding_for else ""
    return f"{state.mode}{slowed}{because}"


def _faults(summary: Summary) -> list[str]:
    state, count = summary.state.newest, len(summary.state.faults)
    now = f"FAULT {state.fault}" if state is not None and state.fault else ""
    before = f"{count} fault{'s' * (count > 1)} so far" if count else ""
    return [text for text in (now, before) if text]


def _s2(summary: Summary, now_ns: int) -> list[str]:
    newest = summary.conditioning.newest
    if newest is None:
        return []
    age_ms = (now_ns - newest.t_capture_ns) / NS_PER_MS
    heard = summary.conditioning
    saves = f", cache saves {heard.macs_saved:.0%}" if heard.macs_full else ""
    return [f"S2 {heard.rate.hz:.1f} Hz, {age_ms:.0f} ms old{saves}"]


def _executor(summary: Summary) -> list[str]:
    loop = summary.loops.get("executor")
    if loop is None or loop.lateness.all.n == 0:
        return []
    late_ms = loop.lateness.all.quantile(0.99) / NS_PER_MS
    parts = [f"executor {loop.rate.hz:.0f} Hz, p99 {late_ms:.2f} ms late"]
    if SEAM in loop.gauges:
        parts.append(f"seam {loop.gauges[SEAM] * 1e3:.2f} mrad")
    latency = loop.samples.get(LATENCY)
    if latency is not None:
        parts.append(f"camera→command {latency.all.quantile(0.5) / NS_PER_MS:.0f} ms")
    return parts
