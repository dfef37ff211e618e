"""`tandem train lac`: LAC's networks for the shipped System 2, from the demonstrations.

Both stages of policies/caches/lac_training.py, the second with the shipped trunk in place of a
large one: a frame's latent is computed as the cache would compute it, and distilled from the one
with everything computed anew. System 2 stays as it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from safetensors.torch import save_file
from tandem.policies.caches import lac_training
from tandem.policies.caches.lac_networks import LacNetworks
from tandem.policies.s2 import storage
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.rivals import LAC_CHANNELS
from tandem.policies.s2.trunk import Block, attend, attention_bias
from tandem.tools.train import lac_data
from torch import Tensor

_SLIGHT = 1e-3  # mean square of a latent's error that does no harm; its deviation is 1
_PULL = 0.1  # largest norm of a gradient


@dataclass(frozen=True)
class Amounts:
    episodes: int = 120
    aligned: int = 60  # batches of stage I
    finetuned: int = 400  # and of stage II
    batch: int = 16
    longest: int = 16  # a pair is fewer frames apart


def finetune(
    networks: LacNetworks,
    model: S2Model,
    batches: Iterable[lac_data.Pairs],
    recipe: lac_training.LacRecipe,
) -> list[float]:
    """Stage II; losses, batch by batch."""
    optimizer = torch.optim.AdamW(networks.parameters(), recipe.learning_rate)
    losses: list[float] = []
    for batch in batches:
        choice = networks(batch.motion)
        soft, hard = lac_training.ratio_choice(choice.ratio_logits, recipe.ratio_temperature)
        anew = lac_training.chosen(choice, hard, networks.ratios, recipe.score_temperature)
        kept = (soft * soft.new_tensor(networks.ratios)).sum(-1).mean()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            past = remembered(model, batch.before)
            with torch.no_grad():
                target = cached_latent(model, past, batch.now)
            said = cached_latent(model, past, batch.now, anew)
        loss = harm(said, target) - recipe.keep * kept
        optimizer.zero_grad()
        loss.backward()
        # Some batches pull tens of times harder than most; scores driven to 0 never come back.
        torch.nn.utils.clip_grad_norm_(networks.parameters(), _PULL)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def harm(said: Tensor, target: Tensor) -> Tensor:
    """How wrong latents [B, K, D] are: about 0 if slightly, 1 for those of another scene.

    By the logarithm of the error: a cube that has slid by a centimetre is missed as surely as one
    that has jumped by ten, and their squares are a hundred apart.
    """
    error = (said - target).square().mean((1, 2))
    return (error / _SLIGHT).log1p().mean() / np.log1p(1 / _SLIGHT)


@dataclass(frozen=True)
class Past:
    """What the static rows of a frame left behind."""

    hidden: Tensor  # [B, statics, width]
    layers: list[tuple[Tensor, Tensor]]  # keys, values [B, heads, statics, d]


@torch.no_grad()
def remembered(model: S2Model, x: Tensor) -> Past:
    """Of trunk inputs [B, statics, width]: static rows see no others."""
    hidden, layers = _forward(model, x, None, None)
    return Past(hidden, layers)


def cached_latent(model: S2Model, past: Past, now: Tensor, anew: Tensor | None = None) -> Tensor:
    """Latents [B, K, D] of trunk inputs `now` when only patches in `anew` [B, 64] are computed.

    Rows that are kept have keys, values and the pointer's candidates of the past. None: all anew.
    """
    config, readout = model.config, model.readout
    if anew is None:
        hidden = _forward(model, now, None, None)[0]
        statics = hidden[:, : config.statics]
    else:
        fresh = torch.cat([anew.new_ones(len(anew), config.registers), anew], 1)
        hidden = _forward(model, now, past, fresh[:, None, :, None])[0]
        statics = _mixed(fresh[:, :, None], hidden[:, : config.statics], past.hidden)
    newest = hidden[:, config.statics : config.statics + config.changed]
    candidates = torch.cat([statics[:, config.registers :], newest], 1)
    readouts = hidden[:, None, -config.readouts :]
    keys, values = readout.pointer.candidates(candidates)
    _, pointed = readout.pointer.point(readouts[:, :, 0], keys, values)
    return readout.normalised(readout.raw(readouts, pointed))[:, 0]


def _forward(
    model: S2Model, x: Tensor, past: Past | None, fresh: Tensor | None
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Hidden, keys and values; where `fresh` [B, 1, statics, 1] is 0, those of the past."""
    rows, statics = x.shape[1], model.config.statics
    bias = attention_bias(model.config, range(model.config.frames))[:, :rows, :rows]
    made: list[tuple[Tensor, Tensor]] = []
    for layer, block in enumerate(model.trunk.blocks):
        assert isinstance(block, Block)
        query, key, value = block.split(x)
        if past is not None and fresh is not None:
            old_key, old_value = past.layers[layer]
            key = torch.cat([_mixed(fresh, key[:, :, :statics], old_key), key[:, :, statics:]], 2)
            value = torch.cat(
                [_mixed(fresh, value[:, :, :statics], old_value), value[:, :, statics:]], 2
            )
        made.append((key, value))
        x = block.join(x, attend(query, key, value, bias))
    return model.trunk.norm(x), made


def _mixed(fresh: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return fresh * new + (1 - fresh) * old


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
    """Train LAC's selector and ratio predictor against the shipped System 2, in minutes."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    console, amounts = Console(highlight=False), Amounts(episodes=episodes)
    # Networks this small take larger steps than the default.
    recipe = lac_training.LacRecipe(learning_rate=2e-3, keep=keep)
    model = storage.load_model(s2)
    seen = lac_data.watch(model, made / "demos", episodes, seed)
    console.print(f"{len(seen)} frames of {episodes} demonstrations")
    networks = LacNetworks(model.config.grid, channels=LAC_CHANNELS)
    shown = lac_data.aligning(seen, amounts.batch, amounts.aligned, seed)
    first = lac_training.align(networks, shown, recipe)
    console.print(f"stage I: {np.mean(first[:10]):.4f} → {np.mean(first[-10:]):.4f}")
    drawn = lac_data.pairs(model, seen, amounts.batch, amounts.finetuned, amounts.longest, seed)
    second = finetune(networks, model, drawn, recipe)
    console.print(f"stage II: {np.mean(second[:10]):.4f} → {np.mean(second[-10:]):.4f}")
    save_file({k: v.half().contiguous() for k, v in networks.state_dict().items()}, out)
    console.print(f"written: {out}")


if __name__ == "__main__":
    app()
