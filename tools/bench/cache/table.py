"""Tables and the picture of `tandem bench cache`."""

from typing import Any

from rich.table import Table
from tandem.policies.caches.stages import STAGES
from tandem.tools.bench import output


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
    columns = ("p50 ms", "p99 ms", "time", "macs", "rows anew", "error", "p95", "drift", "MiB")
    table = output.figure_table(title, "cache", columns, "time and macs: mean, relative to none")
    picks = result.get("picks")
    if picks is not None:
        table.add_column(f"picks of {settings['episodes']}", justify="right")
    for name, found in result["caches"].items():
        figures = (
            found["p50_ms"],
            found["p99_ms"],
            found["time_ratio"],
            found["macs_ratio"],
            found["fresh"],
            found["error_mean"],
            found["error_p95"],
            found["error_drift"],
            result["memory_mib"][name],
        )
        won = [str(picks[name])] if picks is not None else []
        table.add_row(name, *(output.number(figure) for figure in figures), *won)
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
    columns = (
        "ms",
        "time",
        "macs",
        "floor",
        "to the greater",
        "to their sum",
        "stages",
        "refreshed",
    )
    table = output.figure_table(title, "cache", columns, note)
    for name, found in result["sd_vla"].items():
        figures = (
            found["trunk_ms"],
            found["time_ratio"],
            found["macs_ratio"],
            found["floor_ratio"],
            found["to_bound"],
            found["to_prediction"],
            found["to_stages"],
        )
        table.add_row(name, *(output.number(x) for x in figures), f"{found['refreshed']:.0%}")
    return table
