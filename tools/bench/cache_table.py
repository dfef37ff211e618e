"""Tables and the picture of `tandem bench cache`."""

from typing import Any

from rich.table import Table
from tandem.policies.caches.stages import STAGES
from tandem.tools.bench import output


def tables(result: dict[str, Any]) -> list[Table]:
    shown = [_caches(result), _stages(result)]
    return [*shown, _floor(result)] if "sd_vla" in result else shown


def _caches(result: dict[str, Any]) -> Table:
    settings = result["settings"]
    title = (
        f"caches on {settings['backbone']} ({settings['dtype']}, {settings['device']}, "
        f"{result['threads']} threads), {result['frames']} frames of {settings['footage']}"
    )
    columns = ("p50 ms", "p99 ms", "time", "macs", "rows anew", "error", "p95", "drift", "MiB")
    table = output.figure_table(title, "cache", columns, "time and macs: mean, relative to none")
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
        table.add_row(name, *(output.number(figure) for figure in figures))
    return table


def _stages(result: dict[str, Any]) -> Table:
    table = output.figure_table("mean ms / multiply-adds in G, by stage", "cache", STAGES)
    for name, found in result["caches"].items():
        pairs = ((found["stages_ms"][s], found["stages_macs"][s] / 1e9) for s in STAGES)
        cells = (f"{output.number(ms)} / {output.number(macs)}" for ms, macs in pairs)
        table.add_row(name, *cells)
    return table


def _floor(result: dict[str, Any]) -> Table:
    found = result["sd_vla"]
    title = "SD-VLA's trunk in a frame without a refresh, against reading the weights once"
    note = f"something was refreshed in {found['refreshed']:.0%} of the frames"
    table = output.figure_table(title, "what", ("ms", "relative to a full step"), note)
    table.add_row("full step", output.number(found["full_ms"]), "1")
    rows = (
        ("multiply-adds", None, found["macs_ratio"]),
        ("floor: one row", result["floor_ms"], found["floor_ratio"]),
        ("cached step", found["trunk_ms"], found["time_ratio"]),
        ("… to the greater of the two", None, found["to_bound"]),
        ("… to floor + multiply-adds", None, found["to_prediction"]),
    )
    for name, ms, ratio in rows:
        table.add_row(name, output.number(ms), output.number(ratio))
    return table
