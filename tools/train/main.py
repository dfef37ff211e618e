"""`tandem train`: the shipped weights from nothing, on a plain computer.

Demonstrations → System 2 → its recache gate → what System 2 says of every demonstration → System
1 → practice, corrected by the expert → figures on scenes that nothing was trained on → files and
card.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tandem.policies.s1.network import HeadConfig
from tandem.policies.s2.storage import read_about, resolve
from tandem.tools.train import card, data, gate, judging, labels, latents, s1, s2, s2_recipe
from tandem.tools.train.corpus import Demonstrated
from tandem.tools.train.progress import Progress
from tandem.tools.train.shipping import ship

S1_NAME, FLOW_NAME, S2_NAME = "pick_s1", "pick_s1_flow", "pick_s2"


@dataclass(frozen=True)
class Recipe:
    """How much of everything. The default takes under 40 minutes on two cores."""

    amounts: data.Amounts = field(default_factory=data.Amounts)
    s2: s2_recipe.Recipe = field(default_factory=s2_recipe.Recipe)
    head: HeadConfig = field(default_factory=lambda: HeadConfig(width=448))
    flow_head: HeadConfig = field(default_factory=lambda: HeadConfig(width=256))
    variants: int = 3  # states beside each recorded one
    chunks: s1.Budget = field(default_factory=s1.Budget)
    flow: s1.Budget | None = None
    judged: int = 40  # episodes per kind
    processes: int = 2

    def seeded(self, seed: int) -> "Recipe":
        parts = self.s2
        return replace(
            self,
            amounts=replace(self.amounts, seed=seed),
            s2=replace(
                parts, model=replace(parts.model, seed=seed), gate=replace(parts.gate, seed=seed)
            ),
            chunks=replace(self.chunks, seed=seed),
        )


QUICK = Recipe(
    amounts=data.Amounts(demos=4, clips=20, drawers=5, processes=1),
    s2=s2_recipe.Recipe(
        model=s2.Budget(iterations=2, clips=4, demos=4, threads=1),
        gate=gate.GateBudget(iterations=5, clips=4, demos=4, threads=1),
        gate_episodes=2,
        holdout_clips=5,
        holdout_drawers=2,
        holdout_episodes=1,
        judged_pairs=12,
    ),
    head=HeadConfig(width=64, blocks=1),
    variants=1,
    chunks=s1.Budget(iterations=30, batch=64),
    judged=1,
    processes=1,  # starting processes would take longer than their work
)


def train(
    out: Path,
    seed: int = 0,
    recipe: Recipe | None = None,
    made: Path | None = None,
    understood: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write weights and card into the folder `out`; returns the card's numbers.

    `made`: a folder of data made before (see data.py), which is then used and kept. `understood`:
    weights of a System 2 trained before; only System 1 is trained, on what that one says.
    """
    recipe = (recipe or Recipe()).seeded(seed)
    work = Path(tempfile.mkdtemp(prefix="tandem-train-"))
    try:
        with progress or Progress() as bars:
            run = _Run(recipe, out, made or work / "data", seed, bars)
            if made is None:
                run.timed("data", lambda: data.make(run.data, recipe.amounts, bars))
            return run.all(understood)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Run:
    """One training: stage after stage, each timed."""

    def __init__(self, recipe: Recipe, out: Path, made: Path, seed: int, bars: Progress) -> None:
        self.recipe, self.out, self.data, self.seed, self.bars = recipe, out, made, seed, bars
        self.minutes: dict[str, float] = {}
        self.figures: dict[str, Any] = {}

    def timed(self, name: str, stage: Callable[[], Any]) -> Any:
        began = time.monotonic()
        result = stage()
        self.minutes[name] = round((time.monotonic() - began) / 60, 1)
        return result

    def all(self, understood: Path | None) -> dict[str, Any]:
        s2_path = self.out / S2_NAME
        if understood is None:
            made = partial(s2_recipe.make, self.data, s2_path, self.bars, self.recipe.s2)
            self.figures[S2_NAME] = self.timed("System 2 and gate", made)
        else:
            self.figures[S2_NAME] = _taken_over(understood, s2_path)
        corpus = self.timed("latents and labels", lambda: self._corpus(s2_path))
        self.timed("System 1", lambda: self._system1(corpus))
        self.figures["closed loop"] = self.timed("judging", self._judge)
        facts = {
            "seed": self.seed,
            "recipe": asdict(self.recipe),
            "minutes": self.minutes,
            "figures": self.figures,
        }
        return card.write(self.out, facts)

    def _corpus(self, s2_path: Path) -> Demonstrated:
        demos = data.load(self.data / "demos")
        episodes = np.unique(demos["episode"])
        track = latents.track_of(
            self.data / "demos",
            s2_path,
            self.seed,
            self.recipe.processes,
            self.bars.part("latents", len(episodes)),
        )
        advance = self.bars.part("labels", self.recipe.variants)
        rng = np.random.default_rng([self.seed, 17])
        cells, chunks = [labels.cells_of(demos)], [demos["chunks"]]
        for _ in range(self.recipe.variants):
            cells.append(labels.beside(cells[0], rng))
            chunks.append(labels.chunks_of(cells[-1]))
            advance(1)
        held_out = episodes[-self.recipe.s2.holdout_episodes :]
        return Demonstrated(track, cells, chunks, demos, ~np.isin(demos["episode"], held_out))

    def _system1(self, corpus: Demonstrated) -> None:
        recipe = self.recipe
        heads = [(s1.new_head(recipe.head, self.seed), S1_NAME, recipe.chunks)]
        if recipe.flow:
            heads.append((s1.new_flow(recipe.flow_head, self.seed), FLOW_NAME, recipe.flow))
        torch.set_num_threads(recipe.processes)
        for head, name, budget in heads:
            s1.fit_units(head, corpus)
            advance = self.bars.part(name, budget.iterations)
            report = s1.train(head, corpus, budget, advance)
            self.figures[name] = {
                "labelled states": len(corpus) * (recipe.variants + 1),
                "losses": [round(loss, 5) for loss in report.losses],
            }
            self._ship(head, name, self.figures[name])

    def _judge(self) -> dict[str, Any]:
        return judging.judge(
            self.out / S1_NAME,
            self.out / S2_NAME,
            self.recipe.judged,
            self.seed,
            self.recipe.processes,
            self.bars.part("judging", self.recipe.judged * len(judging.KINDS)),
        )

    def _ship(self, head: s1.Head, name: str, notes: dict[str, Any]) -> None:
        about = read_about(self.out / S2_NAME)
        shape = (about["config"]["latent_tokens"], about["config"]["latent_width"])
        ship(head, self.out / name, about["latent_id"], shape, notes)


def _taken_over(understood: Path, to: Path) -> dict[str, Any]:
    """Copy the weights of a System 2; returns the figures that are kept beside them."""
    source = resolve(understood)
    to.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".safetensors", ".json"):
        if source.with_suffix(suffix) != to.with_suffix(suffix):
            shutil.copyfile(source.with_suffix(suffix), to.with_suffix(suffix))
    figures: dict[str, Any] = read_about(to)["notes"].get("figures", {})
    return figures


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="folder for weights and card")] = Path("weights"),
    seed: Annotated[int, typer.Option(help="of data and training", min=0)] = 0,
    quick: Annotated[
        bool, typer.Option(help="a minute instead of 40; the weights are no use")
    ] = False,
    made: Annotated[
        Path | None, typer.Option("--data", help="use the data made before in this folder")
    ] = None,
    understood: Annotated[
        Path | None, typer.Option("--s2", help="train only System 1, on these weights of System 2")
    ] = None,
    keep_data: Annotated[
        Path | None, typer.Option(help="make only the data, into this folder (5 GB)")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="that make data and practise")] = 2,
) -> None:
    """Make the shipped weights from nothing: data, System 2, its gate, System 1, figures, card."""
    full = Recipe(processes=processes, amounts=data.Amounts(processes=processes))
    recipe = QUICK if quick else full
    if keep_data is not None:
        with Progress() as bars:
            data.make(keep_data, recipe.seeded(seed).amounts, bars)
        return
    facts = train(out, seed, recipe, made, understood)
    typer.echo(card.summary(facts))


if __name__ == "__main__":
    app()
