"""The figures of the memory task for people and for programs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from tandem.tools.evaluate.statistics import paired
from tandem.tools.memory.judge import SAME_PLACE_M, Figure
from tandem.tools.memory.runs import Run, Wish
from tandem.tools.memory.work import Kept

_ROWS = {
    "what": "what: the other can is second, %",
    "where": f"where: back within {100 * SAME_PLACE_M:g} cm, %",
    "when": "when: doneness error |t − H| / H",
    "success": "all of it, %",
}
_PERCENT, _PLAIN = (100, 1), (1, 3)  # factor, digits


def table(runs: Sequence[Run], wish: Wish) -> Table:
    """A column a policy."""
    title = f"memory: {wish.episodes} episodes, 95 % intervals"
    if wish.refresh:
        title += f", refresh: {wish.refresh}"
    shown = Table("", title=title, title_justify="left")
    for run in runs:
        shown.add_column(run.policy)
    for key, label in _ROWS.items():
        form = _PLAIN if key == "when" else _PERCENT
        shown.add_row(label, *(_value(getattr(run.figures, key), *form) for run in runs))
    for key in ("what", "where", "when"):
        shown.add_row(f"{key}: reached, %", *(_reached(getattr(run.figures, key)) for run in runs))
    if any(run.kept for run in runs):
        for label, share in _KEPT.items():
            shown.add_row(label, *("" if run.kept is None else share(run.kept) for run in runs))
    return shown


def paired_line(first: Run, second: Run) -> str:
    """All of it, kitchen by kitchen."""
    pair = paired(*([e.verdict.success for e in run.episodes] for run in (first, second)))
    low, high = pair.ci95_points
    return (
        f"{second.policy} against {first.policy}: {pair.difference_points:+.1f} points (95 %: "
        f"{low:+.1f} … {high:+.1f}) on the same {pair.scenes} kitchens, p = {pair.p_value:.2g}"
    )


def as_json(runs: Sequence[Run], wish: Wish) -> str:
    asked = {"seed": wish.seed, "weights": str(wish.weights), "refresh": wish.refresh}
    data: dict[str, Any] = asked | {"runs": [asdict(run) for run in runs]}
    return json.dumps(data, indent=1) + "\n"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "none"


# The first look of an episode, which fills the cache, is no refresh.
_KEPT: dict[str, Callable[[Kept], str]] = {
    "looks that refresh L1, %": lambda k: _percent(k.refreshed_l1, k.looks),
    "looks that refresh L2, %": lambda k: _percent(k.refreshed_l2, k.looks),
    "refreshes: a can stood elsewhere, %": lambda k: _percent(k.right, k.right + k.wrong),
    "changes: refreshed within two looks, %": lambda k: _percent(k.answered, k.changes),
    "multiply-adds, % of nothing kept": lambda k: f"{100 * k.share:.1f}",
    "the same, behind the stem, %": lambda k: f"{100 * k.trunk_share:.1f}",
}


def _value(figure: Figure, factor: int, digits: int) -> str:
    if figure.value is None or figure.ci95 is None:
        return "never reached"
    value, low, high = (f"{factor * x:.{digits}f}" for x in (figure.value, *figure.ci95))
    return f"{value} ({low} … {high})"


def _reached(figure: Figure) -> str:
    return f"{100 * figure.reached / max(1, figure.asked):.1f}"
