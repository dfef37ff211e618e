"""What the console tells of both systems: age of the understanding, the cache, chunks and seams."""

from collections import deque
from typing import Any

from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.messages import ActionChunk, Conditioning
from tandem.runtime.summary import LoopSummary, Summary
from tandem.tools.console import figures
from tandem.tools.console.bands import Bands, judge, worst
from tandem.tools.console.window import SPAN_NS


class Minds:
    """The sliding half of what `Summary` knows of them."""

    def __init__(self, limits: Bands) -> None:
        self._bands = limits
        self._last: Conditioning | None = None
        # (t_ns, age of the one before when this one came, multiply-adds, of a full recomputation)
        self._recent: deque[tuple[int, int, int, int]] = deque()
        self.chunk: ActionChunk | None = None

    def heard(self, said: Conditioning) -> None:
        last, self._last = self._last, said
        age_ns = said.t_ns - last.t_capture_ns if last else 0
        self._recent.append((said.t_ns, age_ns, said.macs, said.macs_full))

    def conditioning(self, now_ns: int, summary: Summary) -> figures.Conditioning | None:
        """None: System 2 was never heard."""
        newest, state = summary.conditioning.newest, summary.state.newest
        if newest is None:
            return None
        slow_ms, hold_ms = self._bands.conditioning_slow_ms, self._bands.conditioning_hold_ms
        age_ms = max(now_ns - newest.t_capture_ns, 0) / NS_PER_MS
        acted_ms = None
        if state is not None and state.t_capture_ns:
            acted_ms = round((state.t_ns - state.t_capture_ns) / NS_PER_MS, 3)
        self._trim(now_ns)
        return figures.Conditioning(
            health=worst(*(judge(a, hold_ms, slow_ms) for a in (age_ms, acted_ms or 0.0))),
            rate_hz=round(summary.conditioning.rate.hz, 2),
            age_ms=round(age_ms, 3),
            acted_on_ms=acted_ms,
            peak_ms=max((a / NS_PER_MS for _, a, _, _ in self._recent), default=None),
            slow_ms=slow_ms,
            hold_ms=hold_ms,
        )

    def cache(self, now_ns: int, summary: Summary) -> figures.Cache:
        heard, thresholds = summary.conditioning, self._bands.thresholds
        newest = heard.newest
        if newest is None:
            return figures.Cache()
        self._trim(now_ns)
        levels = zip(newest.gate, heard.refreshes, newest.age_frames, newest.version, strict=False)
        return figures.Cache(
            frames=heard.frames,
            levels=tuple(
                figures.Level(
                    round(gate, 4), thresholds[i] if i < len(thresholds) else None, n, age, version
                )
                for i, (gate, n, age, version) in enumerate(levels)
            ),
            macs_saved=round(heard.macs_saved, 4) if heard.macs_full else None,
            macs_saved_in_window=_saved([(m, f) for _, _, m, f in self._recent]),
        )

    def chunks(self, summary: Summary) -> figures.Chunks:
        loop = summary.loops.get("executor") or LoopSummary()
        counts = _prefixed(loop.counters, "chunks_")
        lost = counts.get("dead", 0) + counts.get("malformed", 0)
        known = self.chunk
        infer_ns = known.timings_ns.get("infer") if known else None
        return figures.Chunks(
            health=("warn" if lost else "ok") if counts else "off",
            counts=counts,
            seams=_prefixed(loop.gauges, "seam_"),
            horizon=len(known.actions) if known else 0,
            dt_ms=known.dt_ns / NS_PER_MS if known else 0.0,
            infer_ms=infer_ns / NS_PER_MS if infer_ns is not None else None,
        )

    def _trim(self, now_ns: int) -> None:
        while self._recent and now_ns - self._recent[0][0] > SPAN_NS:
            self._recent.popleft()


def _saved(spent: list[tuple[int, int]]) -> float | None:
    full = sum(f for _, f in spent)
    return round(1 - sum(m for m, _ in spent) / full, 4) if full else None


def _prefixed(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}
