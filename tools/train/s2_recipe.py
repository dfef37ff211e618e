"""System 2 from data to shipped weights: `make(data, out, progress)`; or, as `tandem train gate`,
only its gate.

Trains the model, then its gate on the finished features, then judges both as stored (float16) on
scenes that neither has seen, and keeps the figures beside the weights.
"""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tandem.policies.s2.gate import Gate
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.storage import load_model, read_about, save_model
from tandem.policies.s2.stream import Schedule
from tandem.tools.train import gate, gate_data, gate_eval, s2, s2_eval
from tandem.tools.train.gate import GateBudget
from tandem.tools.train.progress import Progress
from tandem.tools.train.s2_data import Clips, Part, split


@dataclass(frozen=True)
class Recipe:
    """Budgets and what is held out."""

    model: s2.Budget = field(default_factory=s2.Budget)
    gate: GateBudget = field(default_factory=GateBudget)
    gate_episodes: int = 400
    holdout_clips: int = 600
    holdout_drawers: int = 200
    holdout_episodes: int = 60
    judged_pairs: int = 600

    def split(self, data: Path) -> tuple[Part, Part]:
        """What is trained on, and what is held out."""
        return split(data, self.holdout_clips, self.holdout_drawers, self.holdout_episodes)


def make(data: Path, out: Path, progress: Progress, recipe: Recipe | None = None) -> dict[str, Any]:
    """Trains on `data` (see data.py), writes `out`.safetensors and .json; returns the figures."""
    recipe = recipe or Recipe()
    train_model(data, out, progress, recipe)
    return train_gate(data, out, out, progress, recipe)


def train_model(data: Path, out: Path, progress: Progress, recipe: Recipe) -> None:
    """Everything but the gate."""
    trained, _ = recipe.split(data)
    trainer = s2.Trainer(trained.clips, trained.demos, recipe.model)
    advance = progress.part("System 2", recipe.model.iterations)
    every = 10

    def report(_: int, losses: dict[str, float]) -> None:
        advance(every, f"position {losses['position']:.3f}, pointer {losses['pointer']:.3f}")

    began = time.monotonic()
    model = trainer.run(report, every)
    seconds = time.monotonic() - began
    save_model(model, out, {"training_s": round(seconds), "recipe": asdict(recipe)})


def train_gate(
    data: Path, source: str | Path, out: Path, progress: Progress, recipe: Recipe
) -> dict[str, Any]:
    """The weights `source` with a new gate, written to `out` with its figures."""
    trained, held = recipe.split(data)
    model = load_model(source)
    torch.set_num_threads(recipe.gate.threads)
    torch.manual_seed(recipe.gate.seed)
    model.gate = Gate(model.config)
    say = progress.part("features for the gate", 3)
    parts = []
    for clips in (trained.clips, trained.drawers):
        parts.append(gate_data.clip_frames(model, clips, len(clips)))
        say(1)
    episodes = trained.demos.episodes[-recipe.gate_episodes :]
    streams = gate_data.demo_frames(model, trained.demos, episodes)
    say(1)
    advance = progress.part("recache gate", recipe.gate.iterations)
    gate.train(
        model,
        gate_data.joined(parts),
        streams,
        recipe.gate,
        lambda _, loss: advance(50, f"loss {loss:.3f}"),
    )
    gate_eval.calibrate(model, streams)
    notes = read_about(source)["notes"]
    # The model may be of another day, trained by another recipe than its gate.
    notes["recipe"] = asdict(recipe) | {"model": notes["recipe"]["model"]}
    save_model(model, out, notes)
    stored = load_model(out)
    figures = judge(stored, held, recipe.judged_pairs)
    save_model(stored, out, notes | {"figures": figures})
    return figures


def judge(model: S2Model, held: Part, pairs: int) -> dict[str, Any]:
    """Figures on held-out data, as plain numbers."""
    errors = s2_eval.pointing(model, held.clips, held.demos, pairs)
    streams = gate_data.demo_frames(model, held.demos, held.demos.episodes)
    return {
        "pointing": {name: asdict(error) for name, error in errors.items()},
        "new words": s2_eval.language(model, held.clips, max(pairs // 3, 1)),
        "gate": _gate(model, held.clips),
        "gate beside a drawer": _gate(model, held.drawers),
        "stream": asdict(gate_eval.in_stream(model, streams, Schedule())),
    }


def _gate(model: S2Model, clips: Clips) -> dict[str, Any]:
    frames = gate_data.clip_frames(model, clips, len(clips))
    judged = gate_eval.judge(model, clips, frames)
    first, second = judged.levels()
    return {
        "L1": asdict(first),
        "L2": asdict(second),
        "kinds": {kind: asdict(score) for kind, score in judged.kinds().items()},
        "fires (L1, L2, n)": judged.rates(),
    }


def show(figures: dict[str, Any], progress: Progress) -> None:
    for name, error in figures["pointing"].items():
        progress.say(f"  {name:48s} {s2_eval.Error(**error)}")
    progress.say(f"  new words: {figures['new words']}")
    for where in ("gate", "gate beside a drawer"):
        for level in ("L1", "L2"):
            progress.say(f"  {where} {level}: {gate_eval.Score(**figures[where][level])}")
        progress.say(f"  {where} fires (L1, L2, n): {figures[where]['fires (L1, L2, n)']}")
    progress.say(f"  stream: {gate_eval.Streamed(**figures['stream'])}")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    data: Annotated[Path, typer.Option(help="the folder of `tandem train --keep-data`")],
    out: Annotated[Path, typer.Option(help="weights to write, without suffix")],
    s2: Annotated[str, typer.Option(help="a shipped name or a file")] = "pick_s2",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train the recache gate anew; all else of System 2, and so its latents, stays as it is."""
    recipe = Recipe(gate=GateBudget(seed=seed))
    with Progress() as progress:
        show(train_gate(data, s2, out, progress, recipe), progress)


if __name__ == "__main__":
    app()
