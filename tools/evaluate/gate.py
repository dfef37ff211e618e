"""`tandem eval gate`: does the recache gate see what has changed, and only that?

Fresh clips of five pictures each, the arm somewhere else in every one and at most one change; all
pairs of pictures of a clip, judged by what the simulator knows. A change that no picture shows,
because the arm hides it, counts for nothing.
"""

import secrets
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from tandem.drivers.sim.world import World
from tandem.policies.s2.storage import load_model
from tandem.runtime import config
from tandem.runtime.errors import ConfigError
from tandem.tools.evaluate.seeds import scene_seed
from tandem.tools.train import clips as filming
from tandem.tools.train import gate_data, gate_eval, ik
from tandem.tools.train.data import PHYSICS_STEP_S
from tandem.tools.train.s2_data import Clips

_WIDTH = 100
Tell = Callable[[int], None]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    config_name: Annotated[
        str, typer.Option("--config", help="whose weights and thresholds; s2.policy: sdvla")
    ] = "sim_panda",
    clips: Annotated[int, typer.Option(min=1, help="fresh scenes of five pictures")] = 400,
    seed: Annotated[int | None, typer.Option(help="the same seed, the same scenes")] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the result; - is stdout")
    ] = None,
) -> None:
    """Precision and recall of the recache gate on scenes with known changes."""
    to_stdout = json == Path("-")
    if json is not None and not to_stdout and not json.absolute().parent.is_dir():
        raise ConfigError(f"--json {json}: there is no such folder")
    console = Console(stderr=to_stdout, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH  # a log file has no edge
    given = config.load(config_name).s2
    if given is None or given.policy != "sdvla":
        raise ConfigError("a gate is judged of `s2.policy: sdvla`; this configuration has another")
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    thresholds = (given.cache.thresholds[0], given.cache.thresholds[1])
    found = judge(given.weights, thresholds, clips, seed, _teller(console, clips))
    console.print(table(found))
    if json is not None:
        text = msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n"
        if to_stdout:
            sys.stdout.write(text)
        else:
            json.write_text(text)


def judge(
    weights: str, thresholds: tuple[float, float], clips: int, seed: int, tell: Tell
) -> dict[str, Any]:
    """Scores per level, and of each kind of change the share of pairs at which a level fires."""
    torch.set_num_threads(1)
    model = load_model(weights)
    with tempfile.TemporaryDirectory(prefix="tandem-eval-") as folder:
        film(Path(folder), clips, seed, tell)
        made = Clips(Path(folder), slice(None))
        frames = gate_data.clip_frames(model, made, len(made))
        scores, kinds = gate_eval.on_pairs(model, made, frames, thresholds)
    levels = {f"L{n}": asdict(score) | {"f1": score.f1} for n, score in enumerate(scores, 1)}
    fires = {k: {"L1": a, "L2": b, "pairs": n} for k, (a, b, n) in kinds.items()}
    return {
        "weights": weights,
        "thresholds": thresholds,
        "clips": clips,
        "seed": seed,
        "levels": levels,
        "fires": fires,
    }


def film(folder: Path, count: int, seed: int, tell: Tell) -> None:
    """`count` clips as the arrays of tools/train/data.py, of scenes that no training has seen."""
    world, arm = World(step_s=PHYSICS_STEP_S), ik.load_arm()
    try:
        rows = []
        for i in range(count):
            rows.append(filming.film(world, arm, scene_seed(seed, i)))
            tell(i + 1)
    finally:
        world.close()
    for name in rows[0]:
        np.save(folder / f"{name}.npy", np.stack([row[name] for row in rows]))


def table(found: dict[str, Any]) -> Table:
    """Levels first, then kinds of change, then what is no change."""
    shown = Table(
        title=f"recache gate of {found['weights']}, thresholds {found['thresholds']}, "
        f"{found['clips']} clips, seed {found['seed']}",
        title_justify="left",
    )
    shown.add_column("what")
    for column in ("L1", "L2", "pairs"):
        shown.add_column(column, justify="right")
    levels = found["levels"].values()
    for figure in ("precision", "recall", "f1"):
        shown.add_row(figure, *(f"{level[figure]:.3f}" for level in levels))
    shown.add_row("changes", *(str(level["count"]) for level in levels))
    shown.add_section()
    for kind, fires in found["fires"].items():
        shares = (f"{100 * fires[level]:.1f} %" for level in ("L1", "L2"))
        shown.add_row(f"fires: {kind}", *shares, str(fires["pairs"]))
    return shown


def _teller(console: Console, total: int) -> Tell:
    def tell(done: int) -> None:
        if done % max(1, total // 5) == 0:
            console.print(f"clips: {done} of {total}")

    return tell


if __name__ == "__main__":
    app()
