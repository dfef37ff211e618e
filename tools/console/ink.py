"""The pencil of the console: lines of (text, style), numbers of fixed width, bars and small graphs.

A style is a word (`dim`, `warn` …); what colour that is, only the widgets know.
"""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size

Part = tuple[str, str]
Line = list[Part]

_SPARKS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def time4(ms: float | None) -> str:
    """At most four characters: 0, 8.1µ, 350µ, 1.2m, 12m, 1.2s (µ: microseconds, m: ms)."""
    if ms is None:
        return "–"
    for value, unit in ((ms * 1e3, "µ"), (ms, "m"), (ms / 1e3, "s")):
        if value < 9.95:
            return f"{value:.1f}{unit}" if value >= 0.05 or unit != "µ" else "0"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return f"{ms / 3.6e6:.1f}h" if ms < 35e6 else f"{min(ms / 3.6e6, 999):.0f}h"


def count4(n: float) -> str:
    """At most four characters: 999, 1.2k, 12k, 1.2M."""
    if n < 1000:
        return f"{n:.0f}"
    for value, unit in ((n / 1e3, "k"), (n / 1e6, "M"), (n / 1e9, "G")):
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return "many"


def mib(value: float) -> str:
    return f"{value:.0f}M" if value < 999.5 else f"{value / 1024:.1f}G"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def sparkline(values: Sequence[float], width: int) -> str:
    """The newest `width` values, scaled to the largest of them; an empty second is a space."""
    shown = list(values[-width:])
    largest = max(shown, default=0.0)
    steps = len(_SPARKS) - 2
    marks = (_SPARKS[1 + round(v / largest * steps)] if v > 0 else " " for v in shown)
    return "".join(marks).rjust(width)


def bar(begin: float, end: float, width: int) -> str:
    """From `begin` to `end` (0 … 1) of `width` cells: its length is true to an eighth of a cell."""
    begin, end = (min(max(x, 0.0), 1.0) * width for x in (begin, end))
    eighths = max(round((end - begin) * 8), 1) if end > begin else 0
    drawn = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    left = min(int(begin), width - len(drawn))
    return set_cell_size(" " * left + drawn, width)


def fit(line: Iterable[Part], width: int) -> Line:
    """Exactly `width` cells: cut, or filled with blanks."""
    fitted: Line = []
    for text, style in line:
        if width <= 0:
            break
        size = cell_len(text)
        if size > width:
            text, size = set_cell_size(text[: width - 1] + "…", width), width
        fitted.append((text, style))
        width -= size
    if width > 0:
        fitted.append((" " * width, ""))
    return fitted


def apart(left: Line, right: Line, width: int) -> Line:
    """One at each end; the right one is whole, the left one gives way."""
    size = sum(cell_len(text) for text, _ in right)
    return [*fit(left, max(width - size, 0)), *fit(right, min(size, width))]


def rule(title: str, width: int, *labels: tuple[int, str]) -> Line:
    """A line across with its title, and further words at their columns."""
    line, at = [("── ", "rule"), (title, "title"), (" ", "rule")], 4 + cell_len(title)
    for column, label in labels:
        if column > at:
            line += [("─" * (column - at - 1) + " ", "rule"), (label, "title"), (" ", "rule")]
            at = column + cell_len(label) + 1
    return fit([*line, ("─" * max(width - at, 0), "rule")], width)


def beside(left: Sequence[Line], right: Sequence[Line], widths: tuple[int, int]) -> list[Line]:
    """Two blocks in one."""
    rows = max(len(left), len(right))
    blocks = [list(b) + [[]] * (rows - len(b)) for b in (left, right)]
    return [
        [*fit(a, widths[0]), *fit(b, widths[1])] for a, b in zip(blocks[0], blocks[1], strict=True)
    ]


def plain(lines: Iterable[Line]) -> str:
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)
