"""One answer of the doctor: what was found, why it matters, and the command that mends it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

Verdict = Literal["ok", "advice", "wrong"]
_LOOKS: dict[Verdict, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "advice": ("could be better", "yellow"),
    "wrong": ("wrong", "red"),
}


@dataclass(frozen=True)
class Finding:
    """`wrong`: Tandem fails or the robot suffers. `advice`: it works, later or less surely."""

    name: str
    verdict: Verdict
    found: str
    why: str = ""
    fix: str = ""


def ok(name: str, found: str) -> Finding:
    return Finding(name, "ok", found)


def advice(name: str, found: str, why: str, fix: str) -> Finding:
    return Finding(name, "advice", found, why, fix)


def wrong(name: str, found: str, why: str, fix: str) -> Finding:
    return Finding(name, "wrong", found, why, fix)


def show(findings: Sequence[Finding], console: Console | None = None) -> None:
    """A table, one row a check; below each sick one why it matters and what to do."""
    table = Table(box=None, pad_edge=False, show_header=False, expand=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        word, colour = _LOOKS[finding.verdict]
        table.add_row(finding.name, Text(word, colour), _body(finding))
    (console or Console()).print(table, Text(summary(findings)), sep="\n\n")


def _body(finding: Finding) -> Group | Text:
    found = Text(finding.found)
    if finding.verdict == "ok":
        return found
    return Group(found, Text(finding.why, "dim"), Text(f"→ {finding.fix}", "cyan"))


def summary(findings: Sequence[Finding]) -> str:
    counted = {v: sum(f.verdict == v for f in findings) for v in _LOOKS}
    return (
        f"{len(findings)} checks: {counted['wrong']} wrong, {counted['advice']} could be better, "
        f"{counted['ok']} ok"
    )


def as_data(findings: Sequence[Finding]) -> dict[str, Any]:
    """For scripts: `healthy` is what the exit status says."""
    return {
        "healthy": is_healthy(findings),
        "findings": [asdict(finding) for finding in findings],
    }


def is_healthy(findings: Sequence[Finding]) -> bool:
    return all(finding.verdict != "wrong" for finding in findings)
