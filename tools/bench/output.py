"""Results: one JSON document per run of a benchmark, and tables for people."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from tandem.tools import output
from tandem.tools.bench import figures, machine
from tandem.tools.bench.bars import Bar

SCHEMA = 1
_WIDTH = 130

Tell = Callable[[str], None]  # progress, for people


def document(name: str, runs: int, body: dict[str, Any], bars: Sequence[Bar]) -> dict[str, Any]:
    """What is written: the figures, what they were held to, and where they come from."""
    return {
        "bench": name,
        "schema": SCHEMA,
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.facts(),
        "runs": runs,
        **body,
        "bars": [bar.as_dict() for bar in bars],
        "met": all(bar.met for bar in bars),
    }


def write(result: dict[str, Any], target: str | None) -> None:
    """To a file, to stdout ("-"), or nowhere (None)."""
    text = json.dumps(figures.rounded(result), indent=2, ensure_ascii=False)
    output.write(text + "\n", target)


def console(target: str | None) -> Console:
    return output.console(target, _WIDTH)


def figure_table(title: str, first: str, columns: Sequence[str], caption: str = "") -> Table:
    """A table whose first column names somebody and whose others are figures."""
    table = Table(title=title, title_justify="left", caption=caption, box=SIMPLE_HEAD)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def bar_table(bars: Sequence[Bar]) -> Table:
    table = figure_table("bars", "case", ("bar", "measured", "limit", ""))
    for bar in bars:
        verdict = "[green]met" if bar.met else "[red]not met"
        table.add_row(bar.case, bar.name, number(bar.value), f"≤ {bar.limit:g}", verdict)
    return table


def number(value: float | None) -> str:
    """Three significant digits or so, "–" for what is not there."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def headline(result: dict[str, Any]) -> str:
    """One line about the machine, so that no table is quoted without it."""
    facts = result["machine"]
    kind = "virtual machine" if facts["virtual"] else "bare metal"
    real_time = "FIFO granted" if facts["fifo_granted"] else "FIFO refused"
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {kind}, {facts['kernel'].split()[1]},"
        f" {real_time}, revision {facts['revision']}, {result['runs']} run(s)"
    )
