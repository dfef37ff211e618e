"""The way from camera to command, in pieces that add up: the console's waterfall."""

from collections.abc import Mapping

import numpy as np
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.histogram import Histogram
from tandem.runtime.messages import Tick
from tandem.tools.console.bands import Bands, Limit, judge
from tandem.tools.console.figures import Latency, Stage, Timing
from tandem.tools.console.window import Window, spread, spread_of

# The executor's names for the pieces, in order, and what people call them.
_PIECES = {
    "camera_s2": "camera → S2",
    "s2_s1": "S2 → S1",
    "s1": "S1 infers",
    "s1_executor": "S1 → executor",
}
_WHOLE = "camera_command"
_REST = "→ command"
_REST_WITHOUT_S2 = "camera, command"
_FIRST = "wait"  # for its turn, with the frame already there
_S2_UNSHOWN = ("capture_to_conditioning", "step")  # the whole of it


class _Piece:
    def __init__(self) -> None:
        self.window, self.all = Window(), Histogram()

    def add(self, t_ns: int, values_ns: np.ndarray) -> None:
        self.window.add(t_ns, values_ns)
        self.all.record(values_ns)


class Way:
    """Hears the executor's ticks; each new chunk's first command is one value of every piece."""

    def __init__(self) -> None:
        self._pieces: dict[str, _Piece] = {}

    def feed(self, tick: Tick) -> None:
        whole = tick.samples_ns.get(_WHOLE)
        if tick.source != "executor" or whole is None:
            return
        known = {n: tick.samples_ns[n] for n in _PIECES if n in tick.samples_ns}
        if any(values.size != whole.size for values in known.values()):
            return  # some commands had no image behind them, and nothing tells which
        for name, values_ns in known.items():
            self._piece(name).add(tick.t_ns, values_ns)
        # What is left: from the taking of the chunk to the arm's driver having the command.
        rest_ns = whole - sum(known.values(), np.zeros_like(whole))
        self._piece(_REST).add(tick.t_ns, rest_ns)
        self._piece(_WHOLE).add(tick.t_ns, whole)

    def figures(self, now_ns: int, limits: Bands, s2: Mapping[str, Timing]) -> Latency:
        """The waterfall over the window; `s2`: what System 2 tells of its own stages."""
        whole = self._pieces.get(_WHOLE)
        if whole is None:
            return Latency(budget_ms=limits.latency.error_ms, parts=_parts(s2))
        limit = limits.latency
        total = self._timing(now_ns, _WHOLE, limit)
        stages, begin_ms = [], 0.0
        for name in (*_PIECES, _REST):
            if name not in self._pieces:
                continue
            values_ns = self._pieces[name].window.values_ns(now_ns)
            mean_ms = float(values_ns.mean()) / NS_PER_MS if values_ns.size else 0.0
            title = _PIECES.get(name) or (
                _REST if "camera_s2" in self._pieces else _REST_WITHOUT_S2
            )
            stages.append(
                Stage(title, round(begin_ms, 4), round(mean_ms, 4), self._timing(now_ns, name))
            )
            begin_ms += mean_ms
        p99_ms = total.window.p99_ms if total.window else None
        health = "off" if p99_ms is None else judge(p99_ms, limit.error_ms, limit.warn_ms)
        return Latency(health, limit.error_ms, total, tuple(stages), _parts(s2))

    def _piece(self, name: str) -> _Piece:
        return self._pieces.setdefault(name, _Piece())

    def _timing(self, now_ns: int, name: str, limit: Limit | None = None) -> Timing:
        piece, limit = self._pieces[name], limit or Limit()
        recent = spread(piece.window.values_ns(now_ns))
        return Timing(recent, spread_of(piece.all), limit.error_ms, limit.warn_ms)


def _parts(s2: Mapping[str, Timing]) -> tuple[Stage, ...]:
    """System 2's own stages one after the other, by their medians."""
    parts, begin_ms = [], 0.0
    for name, timing in sorted(s2.items(), key=lambda item: item[0] != _FIRST):
        if name in _S2_UNSHOWN or timing.window is None:
            continue
        parts.append(Stage(name, round(begin_ms, 4), timing.window.p50_ms, timing))
        begin_ms += timing.window.p50_ms
    return tuple(parts)
