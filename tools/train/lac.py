"""`tandem train lac`: LAC's networks for the shipped System 2, from the demonstrations.

Both stages of policies/caches/lac_training.py, the second with the shipped trunk in place of a
large one: a frame's latent is computed as the cache would compute it, and distilled from the one
with everything computed anew. System 2 stays as it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from safetensors.torch import save_file
from tandem.policies.caches import lac_training
from tandem.policies.caches.flow import flow_method
from tandem.policies.caches.lac_networks import LacNetworks, motion_input
from tandem.policies.caches.relevance import Relevance, scaled
from tandem.policies.caches.strategy import Attention, Image, Plan
from tandem.policies.caches.whole import Whole
from tandem.policies.s2 import storage
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.patchwise import Patchwise, patch_layout
from tandem.policies.s2.text import table
from tandem.policies.s2.trunk import Block, attend, attention_bias
from tandem.tools.train import data
from torch import Tensor
from torch.nn import functional

_STRIDE = 2  # System 2 sees every second frame of a demonstration


@dataclass(frozen=True)
class Amounts:
    episodes: int = 40
    aligned: int = 200  # batches of stage I
    finetuned: int = 150  # and of stage II
    batch: int = 8
    seed: int = 0


@dataclass(frozen=True)
class Seen:
    """One frame of a demonstration; the first of an episode has no motion."""

    motion: Tensor | None  # [5, H, W]
    attention: Tensor  # [64] of the question's words to the patches
    features: Tensor  # [64, width]
    question: Tensor  # [14, width]
    episode: int


class _Watching(Whole):
    """Everything anew, and what the text attends to."""

    def __init__(self, model: S2Model) -> None:
        layout = patch_layout(model.config)
        super().__init__(layout)
        self.relevance = Relevance(layout, scaled(15, model.config.depth))  # VLA-Cache's layer

    def plan(self, image: Image, features: Tensor) -> Plan:
        return Plan(self._rows, features, watch=self.relevance.watch)

    def learn(self, attention: Attention) -> None:
        self.relevance.learn(attention)


@torch.no_grad()
def watch(model: S2Model, folder: Path, amounts: Amounts) -> list[Seen]:
    """Demonstrations as System 2 sees them, everything computed anew."""
    demos = data.load(folder)
    rng, texts = np.random.default_rng(amounts.seed), table()
    chosen = rng.permutation(np.unique(demos["episode"]))[: amounts.episodes]
    seen: list[Seen] = []
    for episode in chosen.tolist():
        rows = np.flatnonzero(demos["episode"] == episode)[::_STRIDE]
        words = texts[
            demos["task"][rows[0]], rng.integers(texts.shape[1]), demos["colour"][rows[0]]
        ]
        question = model.tokens.question(torch.from_numpy(words)[None])
        seen += _watched(model, [np.array(demos["images"][row]) for row in rows], question, episode)
    return seen


def _watched(model: S2Model, images: list[Image], question: Tensor, episode: int) -> Iterator[Seen]:
    flow, rule = flow_method("dis"), _Watching(model)
    stream = Patchwise(model, rule)
    for i, image in enumerate(images):
        features = model.features(torch.from_numpy(image)[None])
        stream.step(image, features, question, lambda stage: None)
        motion = motion_input(image, flow(images[i - 1], image)) if i else None
        assert rule.relevance.scores is not None  # the plan asked for it
        yield Seen(motion, rule.relevance.scores, features[0], question[0], episode)


def aligning(seen: list[Seen], amounts: Amounts) -> Iterator[lac_training.Aligning]:
    """Batches of stage I."""
    moving = [frame for frame in seen if frame.motion is not None]
    for drawn in _draws(len(moving), amounts.aligned, amounts):
        motions = [moving[i].motion for i in drawn]
        attention = torch.stack([moving[i].attention for i in drawn])
        yield lac_training.Aligning(torch.stack([m for m in motions if m is not None]), attention)


def finetune(
    networks: LacNetworks,
    model: S2Model,
    seen: list[Seen],
    amounts: Amounts,
    recipe: lac_training.LacRecipe,
) -> list[float]:
    """Stage II; losses, batch by batch. A loss of 1 is computing nothing anew."""
    reach = model.config.frames  # frames that the window and the one before it go back
    usable = [i for i in range(reach, len(seen)) if seen[i].episode == seen[i - reach].episode]
    optimizer = torch.optim.AdamW(networks.parameters(), recipe.learning_rate)
    losses: list[float] = []
    unit: float | None = None
    for drawn in _draws(len(usable), amounts.finetuned, amounts):
        rows = [usable[i] for i in drawn]
        before, now = (_inputs(model, seen, [row - back for row in rows]) for back in (1, 0))
        motion = torch.stack([m for row in rows if (m := seen[row].motion) is not None])
        with torch.no_grad():
            past = remembered(model, before)
            all_anew = torch.ones(len(rows), model.config.patches)
            target = cached_latent(model, past, now, all_anew)
            if unit is None:
                stale = cached_latent(model, past, now, torch.zeros_like(all_anew))
                unit = float(functional.mse_loss(stale, target))
        choice = networks(motion)
        soft, hard = lac_training.ratio_choice(choice.ratio_logits, recipe.ratio_temperature)
        anew = lac_training.chosen(choice, hard, networks.ratios, recipe.score_temperature)
        kept = (soft * soft.new_tensor(networks.ratios)).sum(-1).mean()
        said = cached_latent(model, past, now, anew)
        loss = functional.mse_loss(said, target) / unit - recipe.keep * kept
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@dataclass(frozen=True)
class Past:
    """What a frame left behind."""

    hidden: Tensor  # [B, rows, width]
    layers: list[tuple[Tensor, Tensor]]  # keys, values [B, heads, rows, d]


def remembered(model: S2Model, x: Tensor) -> Past:
    """Everything of trunk inputs [B, rows, width]."""
    return _forward(model, x, None, None)


def cached_latent(model: S2Model, past: Past, now: Tensor, anew: Tensor) -> Tensor:
    """Latents [B, K, D] of trunk inputs `now` when only patches in `anew` [B, 64] are computed.

    Rows that are kept have keys, values and the pointer's candidates of the frame before.
    """
    config, readout = model.config, model.readout
    fresh = anew.new_ones(len(anew), config.rows)
    fresh[:, config.registers : config.statics] = anew
    new = _forward(model, now, past, fresh[:, None, :, None]).hidden
    hidden = fresh[:, :, None] * new + (1 - fresh[:, :, None]) * past.hidden
    candidates = hidden[:, config.registers : config.statics + config.changed]
    readouts = hidden[:, None, -config.readouts :]
    keys, values = readout.pointer.candidates(candidates)
    _, pointed = readout.pointer.point(readouts[:, :, 0], keys, values)
    return readout.normalised(readout.raw(readouts, pointed))[:, 0]


def _forward(model: S2Model, x: Tensor, past: Past | None, fresh: Tensor | None) -> Past:
    """Where `fresh` [B, 1, rows, 1] is 0, keys and values of the past take the row's place."""
    bias = attention_bias(model.config, range(model.config.frames))
    made: list[tuple[Tensor, Tensor]] = []
    for layer, block in enumerate(model.trunk.blocks):
        assert isinstance(block, Block)
        query, key, value = block.split(x)
        if past is not None and fresh is not None:
            kept = zip((key, value), past.layers[layer], strict=True)
            key, value = (fresh * new + (1 - fresh) * old for new, old in kept)
        made.append((key, value))
        x = block.join(x, attend(query, key, value, bias))
    return Past(model.trunk.norm(x), made)


@torch.no_grad()
def _inputs(model: S2Model, seen: list[Seen], rows: list[int]) -> Tensor:
    """Trunk inputs [B, rows, width], each frame its own reference."""
    tokens, ages = model.tokens, range(model.config.frames)
    window = torch.stack([seen[row - age].features for row in rows for age in ages])
    features = window[:: len(ages)]
    moving, _ = tokens.frame(window, features.repeat_interleave(len(ages), 0))
    moving = moving.unflatten(0, (len(rows), -1)).flatten(1, 2)
    asked = torch.stack([seen[row].question for row in rows])
    return torch.cat([tokens.l1(features), tokens.l2(features), moving, asked], 1)


def _draws(count: int, batches: int, amounts: Amounts) -> Iterator[list[int]]:
    random = torch.Generator().manual_seed(amounts.seed)
    for _ in range(batches):
        yield torch.randint(count, (amounts.batch,), generator=random).tolist()


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    made: Annotated[Path, typer.Option("--data", help="the folder of `tandem train --data`")],
    out: Annotated[Path, typer.Option(help="the file to write, .safetensors")],
    s2: Annotated[str, typer.Option(help="a shipped name or a file")] = "pick_s2",
    episodes: Annotated[int, typer.Option(min=1)] = Amounts.episodes,
    keep: Annotated[float, typer.Option(help="λ, the reward for keeping rows")] = 0.1,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train LAC's selector and ratio predictor against the shipped System 2."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    console, amounts = Console(highlight=False), Amounts(episodes=episodes, seed=seed)
    recipe = lac_training.LacRecipe(keep=keep)
    model = storage.load_model(s2)
    seen = watch(model, made / "demos", amounts)
    console.print(f"{len(seen)} frames of {episodes} demonstrations")
    networks = LacNetworks(model.config.grid)
    first = lac_training.align(networks, aligning(seen, amounts), recipe)
    console.print(f"stage I: {np.mean(first[:10]):.4f} → {np.mean(first[-10:]):.4f}")
    second = finetune(networks, model, seen, amounts, recipe)
    console.print(f"stage II: {np.mean(second[:10]):.4f} → {np.mean(second[-10:]):.4f}")
    save_file({k: v.half().contiguous() for k, v in networks.state_dict().items()}, out)
    console.print(f"written: {out}")


if __name__ == "__main__":
    app()
