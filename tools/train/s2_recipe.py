"""System 2 from data to shipped weights: `make(data, out, progress)`, or this module as a program.

Trains the model, then its gate on the finished features, then judges both as stored (float16) on
scenes that neither has seen, and keeps the figures beside the weights.
"""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tandem.policies.s2.storage import load_model, save_model
from tandem.policies.s2.stream import Schedule
from tandem.tools.train import gate, gate_data, gate_eval, s2, s2_eval
from tandem.tools.train.gate import GateBudget
from tandem.tools.train.progress import Progress
from tandem.tools.train.s2_data import split


@dataclass(frozen=True)
class Recipe:
    """Budgets and what is held out."""

    model: s2.Budget = field(default_factory=s2.Budget)
    gate: GateBudget = field(default_factory=GateBudget)
    gate_clips: int = 5000  # clips whose features the gate is trained on
    gate_episodes: int = 400
    holdout_clips: int = 600
    holdout_episodes: int = 60
    judged_pairs: int = 600


def make(data: Path, out: Path, progress: Progress, recipe: Recipe | None = None) -> dict[str, Any]:
    """Trains on `data` (see data.py), writes `out`.safetensors and .json; returns the figures."""
    recipe = recipe or Recipe()
    train_model(data, out, progress, recipe)
    return train_gate(data, out, progress, recipe)


def train_model(data: Path, out: Path, progress: Progress, recipe: Recipe) -> None:
    """Everything but the gate."""
    clips, demos, _, _ = split(data, recipe.holdout_clips, recipe.holdout_episodes)
    trainer = s2.Trainer(clips, demos, recipe.model)
    advance = progress.part("System 2", recipe.model.iterations)
    every = 10

    def report(_: int, losses: dict[str, float]) -> None:
        advance(every, f"position {losses['position']:.3f}, pointer {losses['pointer']:.3f}")

    began = time.monotonic()
    model = trainer.run(report, every)
    seconds = time.monotonic() - began
    save_model(model, out, {"training_s": round(seconds), "recipe": asdict(recipe)})


def train_gate(data: Path, out: Path, progress: Progress, recipe: Recipe) -> dict[str, Any]:
    """The gate of the weights at `out`, which are written again with gate and figures."""
    clips, demos, held_clips, held_demos = split(
        data, recipe.holdout_clips, recipe.holdout_episodes
    )
    model = load_model(out)
    torch.set_num_threads(recipe.gate.threads)
    say = progress.part("features for the gate", 2)
    frames = gate_data.clip_frames(model, clips, min(recipe.gate_clips, len(clips)))
    say(1)
    streams = gate_data.demo_frames(model, demos, demos.episodes[-recipe.gate_episodes :])
    say(1)
    advance = progress.part("recache gate", recipe.gate.iterations)
    gate.train(model, frames, streams, recipe.gate, lambda _, loss: advance(50, f"loss {loss:.3f}"))
    gate_eval.calibrate(model, streams)
    save_model(model, out, {"recipe": asdict(recipe)})
    stored = load_model(out)
    figures = judge(stored, held_clips, held_demos, recipe.judged_pairs)
    save_model(stored, out, {"recipe": asdict(recipe), "figures": figures})
    return figures


def judge(model: Any, clips: Any, demos: Any, pairs: int) -> dict[str, Any]:
    """Figures on held-out data, as plain numbers."""
    errors = s2_eval.pointing(model, clips, demos, pairs)
    frames = gate_data.clip_frames(model, clips, len(clips))
    scores, kinds = gate_eval.on_pairs(model, clips, frames)
    streams = gate_data.demo_frames(model, demos, demos.episodes)
    streamed = gate_eval.in_stream(model, streams, Schedule())
    return {
        "pointing": {name: asdict(error) for name, error in errors.items()},
        "new words": s2_eval.language(model, clips, max(pairs // 3, 1)),
        "gate": {"L1": asdict(scores[0]), "L2": asdict(scores[1]), "fires (L1, L2, n)": kinds},
        "stream": asdict(streamed),
    }


def show(figures: dict[str, Any], progress: Progress) -> None:
    for name, error in figures["pointing"].items():
        progress.say(f"  {name:48s} {s2_eval.Error(**error)}")
    progress.say(f"  new words: {figures['new words']}")
    for level in ("L1", "L2"):
        progress.say(f"  gate {level}: {gate_eval.Score(**figures['gate'][level])}")
    progress.say(f"  fires (L1, L2, n): {figures['gate']['fires (L1, L2, n)']}")
    progress.say(f"  stream: {gate_eval.Streamed(**figures['stream'])}")


def main(
    data: Annotated[Path, typer.Option(help="folder with clips/ and demos/")],
    out: Annotated[Path, typer.Option(help="weights to write, without suffix")],
    iterations: Annotated[int, typer.Option(help="of the model, 0: only the gate")] = 1500,
    seed: int = 0,
) -> None:
    """Train System 2 and its gate."""
    recipe = Recipe(model=s2.Budget(iterations=iterations, seed=seed), gate=GateBudget(seed=seed))
    with Progress() as progress:
        if iterations:
            train_model(data, out, progress, recipe)
        show(train_gate(data, out, progress, recipe), progress)


if __name__ == "__main__":
    typer.run(main)
