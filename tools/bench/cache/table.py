"""The tables of `tandem bench cache`."""

from typing import Any

from rich.table import Table
from tandem.policies.caches.stages import STAGES
from tandem.tools.bench import output

# Column: figure
_CACHE = {
    "p50 ms": "p50_ms",
    "p99 ms": "p99_ms",
    "time": "time_ratio",
    "macs": "macs_ratio",
    "rows anew": "fresh",
    "error": "error_mean",
    "p95": "error_p95",
    "drift": "error_drift",
}
_TRUNK = {
    "ms": "trunk_ms",
    "time": "time_ratio",
    "macs": "macs_ratio",
    "floor": "floor_ratio",
    "to the greater": "to_bound",
    "to their sum": "to_prediction",
    "stages": "to_stages",
}


def tables(result: dict[str, Any]) -> list[Table]:
    shown = [_caches(result), _stages(result)]
    return [*shown, _floor(result)] if result["sd_vla"] else shown


def _caches(result: dict[str, Any]) -> Table:
    settings = result["settings"]
    cameras = f", {settings['cameras']} cameras" if settings["cameras"] > 1 else ""
    title = (
        f"caches on {settings['backbone']} ({settings['dtype']}, {settings['device']}, "
        f"{result['threads']} threads), {result['frames']} frames of {settings['footage']}{cameras}"
    )
    note = "time and macs: mean, relative to none"
    table = output.figure_table(title, "cache", (*_CACHE, "MiB"), note)
    picks = result.get("picks")
    if picks is not None:
        table.add_column(f"picks of {settings['episodes']}", justify="right")
    for name, found in result["caches"].items():
        held = output.number(result["memory_mib"][name])
        won = [str(picks[name])] if picks is not None else []
        table.add_row(name, *_cells(found, _CACHE), held, *won)
    return table


def _stages(result: dict[str, Any]) -> Table:
    table = output.figure_table("mean ms / multiply-adds in G, by stage", "cache", STAGES)
    for name, found in result["caches"].items():
        pairs = ((found["stages_ms"][s], found["stages_macs"][s] / 1e9) for s in STAGES)
        cells = (f"{output.number(ms)} / {output.number(macs)}" for ms, macs in pairs)
        table.add_row(name, *cells)
    return table


def _floor(result: dict[str, Any]) -> Table:
    title = "SD-VLA's trunk in a frame without a refresh, against reading the weights once"
    note = "time and multiply-adds relative to a full step; stages: the whole step, all frames"
    table = output.figure_table(title, "cache", (*_TRUNK, "refreshed"), note)
    for name, found in result["sd_vla"].items():
        table.add_row(name, *_cells(found, _TRUNK), f"{found['refreshed']:.0%}")
    return table


def _cells(found: dict[str, float], columns: dict[str, str]) -> list[str]:
    return [output.number(found[figure]) for figure in columns.values()]
