"""`tandem train memory`: the weights that remember, from nothing, on a plain computer."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tandem.policies.memory import storage
from tandem.policies.memory.model import MemoryModel
from tandem.tools.memory import learn
from tandem.tools.memory.record import Recording, record
from tandem.tools.memory.runs import WEIGHTS
from tandem.tools.train.progress import Progress

_SEEDS_APART = 1_000_000  # between one training and the next; evaluation draws from 2³¹ upwards
_CHUNK = 10


@dataclass(frozen=True)
class Recipe:
    """How much of everything."""

    episodes: int = 130
    held_out: int = 10  # of them; only for figures
    budget: learn.Budget = field(default_factory=learn.Budget)
    processes: int = 2


def train(out: Path, recipe: Recipe, seed: int, bars: Progress) -> dict[str, Any]:
    """Writes the weights into the folder `out`; returns what they reached on held-out episodes."""
    began = time.monotonic()
    torch.set_num_threads(recipe.processes)
    data = recorded(recipe, seed, bars.part("episodes", recipe.episodes))
    made_s = time.monotonic() - began
    model, figures = learned(data, recipe, bars)
    minutes = {"data": made_s / 60, "learning": (time.monotonic() - began - made_s) / 60}
    notes = {
        "seed": seed,
        "recipe": asdict(recipe),
        "minutes": {k: round(v, 1) for k, v in minutes.items()},
        "figures": figures,
    }
    storage.save(model.eval(), out / WEIGHTS, notes)
    return notes


def recorded(recipe: Recipe, seed: int, advance: Callable[[int], None]) -> Recording:
    """All episodes, in order of their seeds, whoever played them."""
    first = seed * _SEEDS_APART
    starts = range(first, first + recipe.episodes, _CHUNK)
    pieces = [range(s, min(s + _CHUNK, first + recipe.episodes)) for s in starts]
    if recipe.processes == 1:
        return _joined([record(piece, advance) for piece in pieces])
    parts: list[Recording] = []
    with ProcessPoolExecutor(recipe.processes, get_context("spawn")) as pool:
        for piece, part in zip(pieces, pool.map(_recorded, pieces), strict=True):
            parts.append(part)
            advance(len(piece))
    return _joined(parts)


def learned(
    data: Recording, recipe: Recipe, bars: Progress
) -> tuple[MemoryModel, dict[str, float]]:
    """Both stages, on all but the last episodes."""
    torch.manual_seed(recipe.budget.seed)
    model = MemoryModel()
    held_out = np.unique(data.episode)[-recipe.held_out :]
    taught = data.rows(~np.isin(data.episode, held_out))
    budget = recipe.budget
    seen = learn.learn_to_see(model, taught, budget, bars.part("seeing", budget.seeing))
    looks = bars.part("every frame once", len(data))
    given = learn.questions(model, taught, looks)
    fresh = learn.questions(model, data.rows(np.isin(data.episode, held_out)), looks)
    advance = bars.part("remembering", budget.remembering)
    remembered = learn.learn_to_remember(model, given, budget, advance)
    figures = {
        "loss of seeing": seen,
        "loss of remembering": remembered,
        "agreement, held out": learn.agreement(model, fresh),
        "agreement, held out, one frame": learn.agreement(model, fresh, cut=True),
    }
    return model, {name: round(value, 4) for name, value in figures.items()}


def _recorded(seeds: range) -> Recording:
    return record(seeds, advance=lambda done: None)


def _joined(parts: list[Recording]) -> Recording:
    names = list(vars(parts[0]))
    return Recording(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="folder for the weights")] = Path("weights"),
    seed: Annotated[int, typer.Option(help="of data and training", min=0)] = 0,
    episodes: Annotated[int, typer.Option(min=20, help="rendered, to learn from")] = 130,
    processes: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Make the weights that remember from nothing: episodes, seeing, remembering."""
    recipe = Recipe(episodes=episodes, processes=processes, budget=learn.Budget(seed=seed))
    with Progress() as bars:
        notes = train(out, recipe, seed, bars)
    for name, value in {**notes["minutes"], **notes["figures"]}.items():
        typer.echo(f"{name}: {value:g}")


if __name__ == "__main__":
    app()
