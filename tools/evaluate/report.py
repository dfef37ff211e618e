"""Results for people (a table) and for programs (`--json`): the same figures, computed once."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import msgspec
from rich.table import Table
from tandem.tools.evaluate import caches
from tandem.tools.evaluate.records import LEVELS, Frames, Result, compare

_PHASES = {
    "arm": "only the arm moved",
    "carry": "carrying the cube",
    "nudge": "a cube barely moved",
    "change": "the scene differs",
}
_JSON = msgspec.json.Encoder(order="deterministic")


def table(result: Result) -> Table:
    """One run as a two-column table."""
    terms = result.terms
    name = f"{terms.ablation}, " if terms.ablation else ""
    shown = Table(
        title=f"{terms.task}: {name}cache {terms.cache}, disturb {terms.disturb}, "
        f"clock {terms.clock}, seed {terms.seed}, {terms.time_limit_s:g} s an episode",
        show_header=False,
        title_justify="left",
    )
    for label, value in _rows(result):
        shown.add_row(label, value)
    return shown


def _rows(result: Result) -> Iterator[tuple[str, str]]:
    low, high = (100 * x for x in result.ci95)
    rate = 100 * result.successes / max(1, result.episodes)
    yield (
        "success",
        f"{result.successes} of {result.episodes} = {rate:.1f} % (95 %: {low:.1f} … {high:.1f})",
    )
    yield "another cube lifted", str(result.wrong_object)
    if result.success_t_s:
        yield "time to success, s", _percentiles(result.success_t_s, ".1f")
    for phase, frames in result.refreshes.items():
        yield f"refreshed, {_PHASES.get(phase, phase)}", refreshed(frames)
    if result.changes:
        yield (
            "visible changes refreshed",
            f"{result.refreshed_within_2} within 2 frames, {result.refreshed_within_5} within 5, "
            f"of {result.changes_visible} ({result.changes - result.changes_visible} unseen)",
        )
        for kind, noticed in result.noticed.items():
            yield f"  {kind}", f"{noticed.within_2} / {noticed.within_5} of {noticed.visible}"
    if result.cache_saved is not None:
        yield "multiply-adds saved by the cache", f"{100 * result.cache_saved:.1f} %"
    if result.latency_ms:
        yield "image to command, ms", _percentiles(result.latency_ms, ".0f")
    yield (
        "plant rate, share of the arm's limits",
        f"velocity {result.velocity_share:.3f}, acceleration {result.acceleration_share:.3f}, "
        f"jerk {result.jerk_share:.3f}, {result.margin_rad:.2f} rad from the joints' ends",
    )
    yield (
        "ticks",
        f"{result.starved_ticks} starved, {result.missed_ticks} missed, "
        f"{result.underruns} underruns",
    )
    yield "faults", f"{result.faults}" + (f", {result.errors} broken off" if result.errors else "")
    yield "took", f"{result.wall_s:.0f} s"


def refreshed(frames: Frames) -> str:
    """`L1 0 / L2 3 of 120 frames (0.0 / 2.5 %)`."""
    counts = " / ".join(f"{n} {c}" for n, c in zip(LEVELS, frames.refreshed, strict=True))
    shares = " / ".join(f"{100 * c / max(1, frames.frames):.1f}" for c in frames.refreshed)
    return f"{counts} of {frames.frames} frames ({shares} %)"


def _percentiles(values: dict[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())


def paired_line(label: str, first: Result, second: Result) -> str:
    pair = compare(first, second)
    low, high = pair.ci95_points
    return (
        f"{label}: {pair.difference_points:+.1f} points (95 %: {low:+.1f} … {high:+.1f}) "
        f"on the same {pair.scenes} scenes; only the first {pair.only_first}, only the second "
        f"{pair.only_second}, p = {pair.p_value:.2g}"
    )


def as_json(results: list[Result], against: list[tuple[str, Result, Result]]) -> str:
    """The first result's keys at the top, every other run under `runs`, pairs under `paired`."""
    first, *others = (msgspec.to_builtins(result) for result in results)
    pairs = [
        {"name": name, "first": _terms(a), "second": _terms(b)} | asdict(compare(a, b))
        for name, a, b in against
    ]
    shown = [asdict(row) for row in caches.rows(results)] if caches.comparable(results) else []
    data = first | {"runs": others, "paired": pairs, "caches": shown}
    return msgspec.json.format(_JSON.encode(data), indent=1).decode() + "\n"


def _terms(result: Result) -> dict[str, Any]:
    return msgspec.to_builtins(result.terms) | {"successes": result.successes}
