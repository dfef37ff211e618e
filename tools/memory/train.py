"""`tandem train memory`: the weights that remember, from nothing, on a plain computer."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tandem.policies.memory import storage
from tandem.policies.memory.config import MemoryConfig, Refresh
from tandem.policies.memory.history import Name
from tandem.policies.memory.model import MemoryModel
from tandem.tools.memory import learn
from tandem.tools.memory.gate import GateBudget, judged, learn_to_gate
from tandem.tools.memory.record import Recording, record
from tandem.tools.memory.runs import WEIGHTS
from tandem.tools.train.progress import Progress

_SEEDS_APART = 1_000_000  # between one training and the next; evaluation draws from 2³¹ upwards
_CHUNK = 10
_PAIRS = 2000  # that the gate is judged by


@dataclass(frozen=True)
class Recipe:
    """What is made, and how much of everything."""

    config: MemoryConfig = field(default_factory=MemoryConfig)
    episodes: int = 130
    held_out: int = 10  # of them; only for figures
    budget: learn.Budget = field(default_factory=learn.Budget)
    gate: GateBudget = field(default_factory=GateBudget)
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
    first, look_s = seed * _SEEDS_APART, recipe.config.history.look_s
    starts = range(first, first + recipe.episodes, _CHUNK)
    pieces = [range(s, min(s + _CHUNK, first + recipe.episodes)) for s in starts]
    if recipe.processes == 1:
        return _joined([record(piece, advance, look_s) for piece in pieces])
    parts: list[Recording] = []
    play = partial(_recorded, look_s=look_s)
    with ProcessPoolExecutor(recipe.processes, get_context("spawn")) as pool:
        for piece, part in zip(pieces, pool.map(play, pieces), strict=True):
            parts.append(part)
            advance(len(piece))
    return _joined(parts)


def learned(
    data: Recording, recipe: Recipe, bars: Progress
) -> tuple[MemoryModel, dict[str, float]]:
    """All stages, on all but the last episodes."""
    torch.manual_seed(recipe.budget.seed)
    model, budget = MemoryModel(recipe.config), recipe.budget
    fresh = np.isin(data.episode, np.unique(data.episode)[-recipe.held_out :])
    taught, held_out = data.rows(~fresh), data.rows(fresh)
    figures = {
        "loss of seeing": learn.learn_to_see(
            model, taught, budget, bars.part("seeing", budget.seeing)
        )
    }
    looks = bars.part("every frame once", len(data))
    seen, unseen = (learn.look(model, part, looks) for part in (taught, held_out))
    if recipe.config.refresh == "gate":
        advance = bars.part("noticing", recipe.gate.steps)
        figures["loss of the gate"] = learn_to_gate(
            model, taught, seen.features, recipe.gate, budget.seed, advance
        )
        for level, score in enumerate(judged(model, held_out, unseen.features, _PAIRS), 1):
            figures[f"gate L{level}, held out, precision"] = score.precision
            figures[f"gate L{level}, held out, recall"] = score.recall
    at_work = recipe.config.refresh
    late = at_work in ("gate", "interval")  # statics that may be old teach nothing at first
    early = learn.questions(model, taught, seen, "hand-over" if late else at_work)
    given = learn.questions(model, taught, seen)
    asked = learn.questions(model, held_out, unseen)
    advance = bars.part("remembering", budget.remembering + budget.settling)
    figures |= {
        "loss of remembering": learn.learn_to_remember(model, early, budget, advance),
        "loss of settling": learn.learn_to_remember(model, given, budget.settled, advance),
        "agreement, held out": learn.agreement(model, asked),
        "agreement, held out, one frame": learn.agreement(model, asked, cut=True),
    }
    return model, {name: round(value, 4) for name, value in figures.items()}


def _recorded(seeds: range, look_s: float) -> Recording:
    return record(seeds, lambda done: None, look_s)


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
    history: Annotated[
        Name, typer.Option(help="which frames it remembers")
    ] = MemoryConfig.remembered,
    refresh: Annotated[
        Refresh, typer.Option(help="who refreshes the static tokens")
    ] = MemoryConfig.refresh,
) -> None:
    """Make the weights that remember from nothing: episodes, seeing, noticing, remembering."""
    config = MemoryConfig(remembered=history, refresh=refresh)
    budget = learn.Budget(seed=seed)
    recipe = Recipe(config, episodes=episodes, processes=processes, budget=budget)
    with Progress() as bars:
        notes = train(out, recipe, seed, bars)
    for name, value in {**notes["minutes"], **notes["figures"]}.items():
        typer.echo(f"{name}: {value:g}")


if __name__ == "__main__":
    app()
