"""The jitter result for people: rows are who, columns are figures, one table a case."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from tandem.tools.bench import bars, output
from tandem.tools.bench.jitter import CYCLICTEST, PEERS

_OTHERS = ("probe", CYCLICTEST, *reversed(PEERS))
_QUANTILES = ("p50", "p99", "p999", "max")
_COLUMNS = (
    *("wake p50", "p99", "p99.9", "max"),
    "max outside stalls",
    "send p99",
    "Hz",
    "missed",
    "unexplained",
    "drift",
    "% of a core",
)


def tables(result: dict[str, Any]) -> list[Table]:
    """One table per case; lateness in µs."""
    return [_case(case) for case in result["cases"]]


def _case(case: dict[str, Any]) -> Table:
    stall_share = 100 * case["stall_share"]
    title = f"{case['rate_hz']:g} Hz, {case['load']}: lateness in µs"
    caption = f"{case['stalls']} stalls of the machine, {stall_share:.2g} % of the time"
    table = output.figure_table(title, "who", _COLUMNS, caption)
    table.add_row(*_row("tandem", case), style=_style(case))
    for who in _OTHERS:
        if who in case:
            table.add_row(*_row(who, case[who]))
    return table


def _row(who: str, found: dict[str, Any]) -> Iterator[str]:
    """What is not known of somebody is a dash."""
    yield who
    for name in _QUANTILES:
        yield output.number(found["wake_us"][name])
    yield output.number(found.get("wake_us_outside_stalls", {}).get("max"))
    yield output.number(found.get("send_us", {}).get("p99"))
    yield f"{found['effective_hz']:.2f}" if "effective_hz" in found else "–"
    yield output.number(found.get("missed"))
    yield output.number(found.get("unexplained"))
    yield output.number(found.get("drift_us"))
    yield output.number(100 * found["cpu_share"] if "cpu_share" in found else None)


def _style(case: dict[str, Any]) -> str:
    return "green" if all(bar.met for bar in bars.jitter([case])) else "red"
