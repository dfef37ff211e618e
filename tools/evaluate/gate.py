"""`tandem eval gate`: does the recache gate see what has changed, and only that?

Fresh clips of five pictures each, the arm somewhere else in every one and at most one change; all
pairs of pictures of a clip, judged by what the simulator knows. A change that no picture shows,
because the arm hides it, counts for nothing. A quarter as many clips again show a cell with a
drawer, judged by itself.
"""

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
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
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.storage import load_model
from tandem.runtime import config
from tandem.runtime.errors import ConfigError
from tandem.tools import output
from tandem.tools.evaluate.seeds import scene_seed
from tandem.tools.train import clips as filming
from tandem.tools.train import gate_data, gate_eval, ik
from tandem.tools.train.data import PHYSICS_STEP_S
from tandem.tools.train.s2_data import Clips

_WIDTH = 100
_DRAWER_PART = 4  # one clip with a drawer to so many without
Tell = Callable[[int], None]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    config_name: Annotated[
        str, typer.Option("--config", help="whose weights and thresholds; s2.policy: sdvla")
    ] = "sim_panda",
    clips: Annotated[
        int, typer.Option(min=1, help="fresh scenes of five pictures; a quarter more with a drawer")
    ] = 400,
    seed: Annotated[int | None, typer.Option(help="the same seed, the same scenes")] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the result; - is stdout")
    ] = None,
) -> None:
    """Precision and recall of the recache gate on scenes with known changes."""
    output.refuse_nowhere("--json", json)
    console = output.console(json, _WIDTH)
    given = config.load(config_name).s2
    if given is None or given.policy != "sdvla":
        raise ConfigError("a gate is judged of `s2.policy: sdvla`; this configuration has another")
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    thresholds = (given.cache.thresholds[0], given.cache.thresholds[1])
    found = judge(given.weights, thresholds, clips, seed, _teller(console))
    console.print(table(found))
    console.print(fires_table(found))
    output.write(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n", json)


def judge(
    weights: str, thresholds: tuple[float, float], clips: int, seed: int, tell: Tell
) -> dict[str, Any]:
    """Scores per level and per kind of change, and the share of pairs of each kind that fire.

    The same of the cell with a drawer, under `drawer`.
    """
    torch.set_num_threads(1)
    model = load_model(weights)
    asked = {"weights": weights, "thresholds": thresholds, "clips": clips, "seed": seed}
    with tempfile.TemporaryDirectory(prefix="tandem-eval-") as folder:
        film(Path(folder), clips, seed, tell)
        found = _figures(model, Path(folder), thresholds)
    drawers = -(-clips // _DRAWER_PART)
    with tempfile.TemporaryDirectory(prefix="tandem-eval-") as folder:
        film(Path(folder), drawers, seed, tell, with_drawer=True)
        drawer = {"clips": drawers} | _figures(model, Path(folder), thresholds)
    return asked | found | {"drawer": drawer}


def _figures(model: S2Model, folder: Path, thresholds: tuple[float, float]) -> dict[str, Any]:
    made = Clips(folder, slice(None))
    frames = gate_data.clip_frames(model, made, len(made))
    judged = gate_eval.judge(model, made, frames, thresholds)
    levels = {f"L{n}": score for n, score in enumerate(judged.levels(), 1)}
    return {
        "levels": {name: _score(score) for name, score in levels.items()},
        "kinds": {name: _score(score) for name, score in judged.kinds().items()},
        "fires": {k: {"L1": a, "L2": b, "pairs": n} for k, (a, b, n) in judged.rates().items()},
    }


def _score(score: gate_eval.Score) -> dict[str, Any]:
    return asdict(score) | {"f1": score.f1}


def film(folder: Path, count: int, seed: int, tell: Tell, with_drawer: bool = False) -> None:
    """`count` clips as the arrays of tools/train/data.py, of scenes that no training has seen."""
    arm, rows = ik.load_arm(), []
    with closing(World(step_s=PHYSICS_STEP_S, with_drawer=with_drawer)) as world:
        for i in range(count):
            rows.append(filming.film(world, arm, scene_seed(seed, i)))
            tell(i + 1)
    for name in rows[0]:
        np.save(folder / f"{name}.npy", np.stack([row[name] for row in rows]))


def table(found: dict[str, Any]) -> Table:
    """Precision and recall: levels first, then kinds of change."""
    shown = Table(
        title=f"recache gate of {found['weights']}, thresholds {found['thresholds']}, "
        f"{found['clips']} clips and {found['drawer']['clips']} with a drawer, "
        f"seed {found['seed']}",
        caption="light is a change of L1, any other of L2. A kind's precision is that of its "
        "level, were there no changes but of this kind: hits counted up to as many changes, "
        "against all that the level fires on without cause",
        title_justify="left",
        caption_justify="left",
    )
    shown.add_column("change")
    for column in ("precision", "recall", "f1", "pairs"):
        shown.add_column(column, justify="right")
    for part in (found["levels"], found["kinds"], found["drawer"]["kinds"]):
        for name, score in part.items():
            figures = (f"{score[figure]:.3f}" for figure in ("precision", "recall", "f1"))
            shown.add_row(name, *figures, str(score["count"]))
        shown.add_section()
    return shown


def fires_table(found: dict[str, Any]) -> Table:
    """How often each level fires, by what tells two pictures apart."""
    shown = Table(title="share of pairs at which a level fires", title_justify="left")
    shown.add_column("between the two")
    for column in ("L1", "L2", "pairs"):
        shown.add_column(column, justify="right")
    for name, fires in _all_fires(found):
        shares = (f"{100 * fires[level]:.1f} %" for level in ("L1", "L2"))
        shown.add_row(name, *shares, str(fires["pairs"]))
    return shown


def _all_fires(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from found["fires"].items()
    for kind, fires in found["drawer"]["fires"].items():
        yield (kind if kind in found["drawer"]["kinds"] else f"{kind}, beside a drawer"), fires


def _teller(console: Console) -> Tell:
    def tell(done: int) -> None:
        if done % 100 == 0:
            console.print(f"clips: {done}")

    return tell


if __name__ == "__main__":
    app()
