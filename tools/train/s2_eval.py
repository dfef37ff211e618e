"""What System 2 is judged by: error of the position that it points at, on held-out frames.

Statics fresh, stale, stale although a cube has moved since; and, to see that both kinds of token
are used, statics of another scene and dynamic tokens of another time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tandem.policies.s2 import text
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.readout import position_m
from tandem.tools.train.gate_data import visible_cubes
from tandem.tools.train.s2_data import Clips, Demos, Pairs, Tuning, cube_pixels
from torch import Tensor

_BATCH = 50


@dataclass(frozen=True)
class Error:
    """Horizontal error of the position pointed at."""

    median_mm: float
    p95_mm: float
    over_3cm: float  # share
    count: int

    def __str__(self) -> str:
        return (
            f"{self.median_mm:6.1f} mm, p95 {self.p95_mm:6.1f}, "
            f">3 cm {100 * self.over_3cm:5.1f} %, n={self.count}"
        )


def summarise(errors_m: list[np.ndarray]) -> Error:
    joined = np.concatenate(errors_m) if errors_m else np.zeros(0)
    if not len(joined):
        return Error(float("nan"), float("nan"), float("nan"), 0)
    return Error(
        float(np.median(joined) * 1e3),
        float(np.percentile(joined, 95) * 1e3),
        float((joined > 0.03).mean()),
        len(joined),
    )


@torch.inference_mode()
def pointing(model: S2Model, clips: Clips, demos: Demos, pairs: int = 600) -> dict[str, Error]:
    """Errors by condition; fixed draws, so that two models see the same pairs."""
    found: dict[str, list[np.ndarray]] = {}
    rng = np.random.default_rng(1)
    for _ in range(pairs // _BATCH):
        for source, tuning in ((clips, Tuning()), (demos, Tuning())):
            _judge(model, source.draw(rng, _BATCH, tuning), found, type(source).__name__.lower())
    return {name: summarise(errors) for name, errors in sorted(found.items())}


def _judge(model: S2Model, pairs: Pairs, found: dict[str, list[np.ndarray]], source: str) -> None:
    images = torch.from_numpy(pairs.images)
    every = model.features(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    then, window = every[:, 0], every[:, 1:]
    now = window[:, 0]
    asked = torch.from_numpy(pairs.text)
    moved = _asked_cube_moved(pairs)
    scene_changed = pairs.changed.any(1)[:, None].repeat(moved.shape[1], 1)
    held = pairs.colours == pairs.held[:, None]
    other = torch.roll(torch.arange(len(now)), 1)
    table = ~held
    rows = np.arange(len(held))[:, None]
    seen_now, seen_then = (
        visible_cubes(pairs.images[:, frame], cube_pixels(cubes))[rows, pairs.colours]
        for frame, cubes in ((1, pairs.cubes_now), (0, pairs.cubes_reference))
    )

    def note(name: str, which: np.ndarray, errors: np.ndarray) -> None:
        found.setdefault(f"{source}: {name}", []).append(errors[which])

    fresh = error_m(model, now, now, window, asked, pairs)
    note("fresh", table & seen_now, fresh)
    note("fresh, hidden by the arm", table & ~seen_now, fresh)
    note("fresh, in the hand", held, fresh)
    stale = error_m(model, then, then, window, asked, pairs)
    unmoved = table & ~scene_changed
    note("stale", unmoved & seen_then, stale)
    note("stale, hidden now, seen then", unmoved & seen_then & ~seen_now, stale)
    note("stale, another thing changed", table & ~moved & scene_changed & seen_then, stale)
    moved_on = table & moved & seen_now
    note("stale, moved since", moved_on, stale)
    note("stale, in the hand", held & moved, stale)
    note("L1 stale", unmoved & seen_now, error_m(model, then, now, window, asked, pairs))
    foreign = error_m(model, now[other], now[other], window, asked, pairs, reference=now)
    note("statics of another scene", table & seen_now, foreign)
    wrong_time = window.clone()
    wrong_time[:] = then[:, None]
    note(
        "stale, moved, dynamics of another time",
        moved_on,
        error_m(model, then, then, wrong_time, asked, pairs),
    )


def _asked_cube_moved(pairs: Pairs) -> np.ndarray:
    """[B, Q]: the cube asked for was elsewhere, or absent, at the reference."""
    rows = np.arange(len(pairs.colours))[:, None]
    now, then = pairs.cubes_now[rows, pairs.colours], pairs.cubes_reference[rows, pairs.colours]
    return ~(np.linalg.norm(now - then, axis=-1) < 0.015)


def error_m(
    model: S2Model,
    first: Tensor,
    second: Tensor,
    window: Tensor,
    asked: Tensor,
    pairs: Pairs,
    reference: Tensor | None = None,
) -> np.ndarray:
    """Horizontal error [B, Q]: L1 from features `first`, L2 from `second`.

    Changes are those since `reference`, which is `second` unless given.
    """
    tokens = model.tokens
    reference = second if reference is None else reference
    output = model(tokens.l1(first), tokens.l2(second), reference, window, asked)
    said = position_m(model.readout.meaning(output.raw)).numpy()
    rows = np.arange(len(pairs.colours))[:, None]
    true = pairs.cubes_now[rows, pairs.colours]
    return np.linalg.norm((said - true)[..., :2], axis=-1)


@torch.inference_mode()
def language(model: S2Model, clips: Clips, pairs: int = 200) -> dict[str, float]:
    """Share of instructions in words never trained on with the right task, and cube to 3 cm."""
    rng = np.random.default_rng(2)
    drawn = clips.draw(rng, pairs, Tuning())
    table = text.table(text.HELD_OUT)
    templates = rng.integers(table.shape[1], size=drawn.tasks.shape)
    asked = torch.from_numpy(table[drawn.tasks, templates, drawn.colours])
    now = model.features(torch.from_numpy(drawn.images[:, 1]))
    tokens = model.tokens
    output = model(tokens.l1(now), tokens.l2(now), now, now[:, None], asked)
    said = model.readout.meaning(output.raw)
    task = said[..., 5:7].argmax(-1).numpy() == drawn.tasks
    close = error_m(model, now, now, now[:, None], asked, drawn) < 0.03
    return {"task": float(task.mean()), "cube": float(close.mean())}


def show(errors: dict[str, Error], write: Callable[[str], None] = print) -> None:
    for name, error in errors.items():
        write(f"  {name:48s} {error}")
