"""The Chrome trace format, as Perfetto reads it: slices, instants, counters and arrows.

Rows are threads of processes; an arrow binds to the slice of its row that encloses its time.
"""

from collections import Counter
from typing import Any

_PROCESSES = ("camera", "s2", "s1", "executor", "teleop", "supervisor", "sim", "recorder")


class Trace:
    """Events of the Chrome trace format; times in µs since `zero_ns`."""

    def __init__(self, zero_ns: int) -> None:
        self.events: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self._zero_ns = zero_ns
        self._threads: dict[tuple[str, str], int] = {}
        self._arrows = 0

    def slice(
        self, where: tuple[str, str], name: str, begin_ns: int, end_ns: int, **args: Any
    ) -> None:
        """`where` is (process, row)."""
        took_us = max(end_ns - begin_ns, 0) / 1e3
        self._add("X", where, begin_ns, name=name, dur=took_us, args=args)

    def instant(self, where: tuple[str, str], name: str, t_ns: int, **args: Any) -> None:
        self._add("i", where, t_ns, name=name, s="p", args=args)

    def counter(self, process: str, name: str, t_ns: int, **values: float) -> None:
        self._add("C", (process, name), t_ns, name=name, args=values)

    def arrow(self, stations: list[tuple[tuple[str, str], int]]) -> None:
        """From slice to slice: (row, a time inside the slice), in order."""
        self._arrows += 1
        last = len(stations) - 1
        for i, (where, t_ns) in enumerate(stations):
            phase = "s" if i == 0 else "f" if i == last else "t"
            more = {"bp": "e"} if phase == "f" else {}
            self._add(phase, where, t_ns, name="lineage", cat="flow", id=self._arrows, **more)
        self.counts["arrows"] += 1

    def document(self) -> dict[str, Any]:
        return {"traceEvents": self._names() + self.events, "displayTimeUnit": "ms"}

    def _add(self, phase: str, where: tuple[str, str], t_ns: int, **fields: Any) -> None:
        row = self._threads.setdefault(where, len(self._threads) + 1)
        known = {"ph": phase, "pid": _pid(where[0]), "tid": row, "ts": (t_ns - self._zero_ns) / 1e3}
        self.events.append({"cat": where[0]} | known | fields)

    def _names(self) -> list[dict[str, Any]]:
        named = []
        for process in dict.fromkeys(process for process, _ in self._threads):
            about = {"ph": "M", "pid": _pid(process), "tid": 0}
            order = {"sort_index": _pid(process)}
            named.append(about | {"name": "process_name", "args": {"name": process}})
            named.append(about | {"name": "process_sort_index", "args": order})
        for (process, row), tid in self._threads.items():
            about = {"ph": "M", "pid": _pid(process), "tid": tid, "name": "thread_name"}
            named.append(about | {"args": {"name": row}})
        return named


def _pid(process: str) -> int:
    return _PROCESSES.index(process) + 1 if process in _PROCESSES else len(_PROCESSES) + 1
