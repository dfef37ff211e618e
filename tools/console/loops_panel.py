"""The table of loops, and one loop in full."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tandem.tools.console import ink
from tandem.tools.console.bands import judge
from tandem.tools.console.figures import Bin, Loop, Process, Snapshot, Spread, Timing
from tandem.tools.console.ink import Line, Part

WIDE = 140  # columns from which both the window and all since attaching are shown
_QUANTILES = (("p50", "p50_ms"), ("p99", "p99_ms"), ("99.9", "p999_ms"), ("max", "max_ms"))
_HISTOGRAM_ROWS_MIN = 4


@dataclass(frozen=True)
class _Column:
    title: str
    width: int  # with the space before it
    cell: Callable[[Loop], Part]


def loops(snapshot: Snapshot, width: int, attached: bool = False) -> list[Line]:
    """`attached`: on a narrow screen show all since attaching instead of the window."""
    columns, labels = _columns(width, attached)
    head: Line = [("# loop      ", "dim")]
    head += [(column.title.rjust(column.width), "dim") for column in columns]
    used = 12 + sum(column.width for column in columns)
    room = width - used - 1
    title = "loops" if width >= WIDE else f"loops, {'all' if attached else '10 s'}"
    head.append((("worst of each second" if room >= 20 else "trend").rjust(room + 1), "dim"))
    lines = [ink.rule(title, width, *labels), ink.fit(head, width)]
    for number, loop in enumerate(snapshot.loops, 1):
        row: Line = [(f"{number} ", "dim"), (loop.name[:10].ljust(10), loop.health)]
        for column in columns:
            text, style = column.cell(loop)
            row.append((text.rjust(column.width), style))
        row.append((" " + ink.sparkline(loop.trend_ms, max(room, 1)), "graph"))
        lines.append(ink.fit(row, width))
    return lines


def _columns(width: int, attached: bool) -> tuple[list[_Column], list[tuple[int, str]]]:
    columns = [_Column("Hz", 5, _rate)]
    labels, at = [], 17
    kinds = [("window", 6), ("attached", 6)] if width >= WIDE else []
    kinds = kinds or [("attached" if attached else "window", 5)]
    for name in ("lateness", "work"):
        for kind, size in kinds:
            said = ", last 10 s" if kind == "window" else ", since attach"
            labels.append((at + 2, f"{name}{said}" if width >= WIDE else name))
            for title, field in _QUANTILES:
                columns.append(_Column(title, size, _quantile(name, kind, field)))
                at += size
    columns.append(_Column("miss", 5, _missed))
    if width >= WIDE:
        columns += [_Column("granted", 18, _granted), _Column("cpu", 6, _cpu)]
        columns.append(_Column("mem", 6, _memory))
    else:
        columns += [_Column("rt", 5, _granted_short), _Column("cpu", 5, _cpu)]
    return columns, labels


def _quantile(name: str, kind: str, field: str) -> Callable[[Loop], Part]:
    def cell(loop: Loop) -> Part:
        timing: Timing = getattr(loop, name)
        spread: Spread | None = getattr(timing, kind)
        if spread is None:
            return "–", "dim"
        value = getattr(spread, field)
        return ink.time4(value), _style(value, timing)

    return cell


def _style(value_ms: float, timing: Timing) -> str:
    health = judge(value_ms, timing.limit_ms, timing.warn_ms)
    return "" if health == "ok" else health


def _rate(loop: Loop) -> Part:
    if loop.silent_s:
        return "mute", "error"
    if not loop.ticks and not loop.rate_hz:
        return "–", "dim"
    slow = loop.asked_hz and loop.rate_hz < 0.95 * loop.asked_hz
    return f"{loop.rate_hz:.0f}" if loop.rate_hz >= 9.95 else f"{loop.rate_hz:.1f}", (
        "warn" if slow else ""
    )


def _missed(loop: Loop) -> Part:
    if not loop.asked_hz:
        return "–", "dim"
    return ink.count4(loop.missed_ticks), "warn" if loop.missed_in_window else ""


def _granted_short(loop: Loop) -> Part:
    process = loop.process
    if process is None:
        return "–", "dim"
    if process.refused:
        return "none", "warn"
    kind, _, level = process.scheduling.partition(" ")
    return (f"{kind[0]}{level}", "") if level else ("–", "dim")


def _granted(loop: Loop) -> Part:
    process = loop.process
    if process is None:
        return "–", "dim"
    if process.refused:
        return "refused", "warn"
    return f"{process.scheduling} @{process.cores}", "" if level_of(process) else "dim"


def level_of(process: Process) -> str:
    return process.scheduling.partition(" ")[2]


def _cpu(loop: Loop) -> Part:
    return (ink.percent(loop.process.cpu), "") if loop.process else ("–", "dim")


def _memory(loop: Loop) -> Part:
    return (ink.mib(loop.process.memory_mib), "") if loop.process else ("–", "dim")


# -- one loop ------------------------------------------------------------------------------------


def focus(loop: Loop, number: int, width: int, height: int) -> list[Line]:
    """Everything about one loop, in `height` lines."""
    asked = f"{loop.asked_hz:g} Hz asked for" if loop.asked_hz else "paced by data"
    heard = f"silent for {loop.silent_s:.1f} s" if loop.silent_s else f"{loop.rate_hz:g} Hz heard"
    facts = [_process_line(loop.process), _counts_line(loop), *_named(loop, width)]
    room = height - len(facts) - 1 - _HISTOGRAM_ROWS_MIN - 1
    lines = [ink.rule(f"{number} {loop.name}: {asked}, {heard}", width), *_table(loop, width, room)]
    lines += facts
    lines += histograms(loop, width, height - len(lines))
    return [ink.fit(line, width) for line in lines[:height]]


def _table(loop: Loop, width: int, rows: int) -> list[Line]:
    head: Line = [(" " * 22, ""), ("last 10 s".ljust(30), "title"), ("since attach", "title")]
    names = "".join(f"{name:>6}" for name, _ in _QUANTILES)
    lines: list[Line] = [head, [(" " * 19 + f"{'n':>5}{names}" * 2, "dim")]]
    timings = {"lateness": loop.lateness, "work": loop.work, **loop.samples}
    for name, timing in list(timings.items())[: max(rows - 2, 2)]:
        line: Line = [(f" {name[:17]:18}", "")]
        for spread in (timing.window, timing.attached):
            line.append((f"{ink.count4(spread.n) if spread else '–':>5}", "dim"))
            for _, field in _QUANTILES:
                value = getattr(spread, field) if spread else None
                style = "dim" if value is None else _style(value, timing)
                line.append((f"{ink.time4(value):>6}", style))
        lines.append(line)
    return lines


def _process_line(process: Process | None) -> Line:
    if process is None:
        return [(" process    not known", "dim")]
    slack = f", slack {ink.time4(process.timer_slack_ns / 1e6)}" if process.timer_slack_ns else ""
    refused = " (real time refused)" if process.refused else ""
    text = (
        f" pid {process.pid}  {process.scheduling}{refused} on cores {process.cores}, "
        f"{mib_or_none(process.locked_mib)} locked{slack}, "
        f"deep sleep {'off' if process.awake else 'allowed'}, "
        f"cpu {ink.percent(process.cpu)}, {ink.mib(process.memory_mib)}"
    )
    return [(text, "warn" if process.refused else "")]


def mib_or_none(value: float) -> str:
    return ink.mib(value) if value else "nothing"


def _counts_line(loop: Loop) -> Line:
    style = "warn" if loop.missed_in_window else ""
    missed = f" missed {loop.missed_ticks} ticks, {loop.missed_in_window} in the last 10 s"
    rest = f"; restarts {loop.restarts}, telemetry lost {loop.telemetry_lost}"
    return [(missed, style), (rest, "")]


def _named(loop: Loop, width: int) -> list[Line]:
    """Counters and gauges, wrapped; at most three lines."""
    words = [f"{n} {v}" for n, v in loop.counters.items()]
    words += [f"{n} {v:.4g}" for n, v in loop.gauges.items()]
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) + 3 > width:
            lines, line = [*lines, line], ""
        line += f"{' · ' if line else ' '}{word}"
    return [[(text, "dim")] for text in [*lines, line][:3] if text]


def histograms(loop: Loop, width: int, height: int) -> list[Line]:
    """Lateness and work side by side; bars grow with the logarithm of the count."""
    half = width // 2
    titles = (f"{loop.name}: lateness", "work since attach, log of counts")
    left = _histogram(titles[0], loop.lateness_bins, loop.lateness, half - 1, height)
    right = _histogram(titles[1], loop.work_bins, loop.work, width - half, height)
    return ink.beside(left, right, (half, width - half))


def all_histograms(loops: Sequence[Loop], width: int, height: int) -> list[Line]:
    """Of as many loops as fit, in order; each gets its share of the rows."""
    known = [loop for loop in loops if loop.ticks]
    shown = known[: max(height // (_HISTOGRAM_ROWS_MIN + 1), 1)]
    lines: list[Line] = []
    for left, loop in zip(range(len(shown), 0, -1), shown, strict=True):
        lines += histograms(loop, width, (height - len(lines)) // left)
    return lines[:height]


def _histogram(
    title: str, bins: tuple[Bin, ...], timing: Timing, width: int, height: int
) -> list[Line]:
    lines = [ink.rule(title, width)]
    rows = height - 1
    if not bins or rows < 1:
        return [*lines, [("  none" if timing.limit_ms else "  paced by data", "dim")]]
    together = -(-len(bins) // rows)
    bins = tuple(
        Bin(group[-1].upto_ms, sum(b.n for b in group))
        for group in (bins[i : i + together] for i in range(0, len(bins), together))
    )
    largest = math.log1p(max(b.n for b in bins))
    room = width - 15
    for each in bins:
        drawn = ink.bar(0, math.log1p(each.n) / largest, room)
        style = _style(each.upto_ms * 0.75, timing) or "graph"
        lines.append(
            [
                (f"  ≤{ink.time4(each.upto_ms):>5} ", "dim"),
                (drawn, style),
                (f"{ink.count4(each.n):>6}", ""),
            ]
        )
    return lines
