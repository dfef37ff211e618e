"""The model card: what the weights were made from, how, and what they can do; for people and
machines.
"""

import json
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tandem
import torch

_PACKAGES = ("torch", "mujoco", "onnxruntime-gpu", "numpy")

_TEMPLATE = """# Model card: pick and bin, simulated Panda

Two networks that work together, made by `tandem train` from nothing but this repository.

| file | size |
|---|---|
{files}

**Task.** "Pick up the <colour> cube" and "put the <colour> cube into the bin", with paraphrases,
six colours, 3 to 6 cubes on a table in front of a simulated Franka Panda; front camera, 128×128,
10 Hz.

**Not for.** Anything but the simulated cell that it was trained in. It has never seen a photograph.

**Data.** {demos} demonstrations by a scripted expert (still, jumping and sliding
cubes, random beginnings, pushes), {clips} clips of five frames and, for the gate,
{drawers} with a drawer; seed {seed}. No data from elsewhere.

**Training.** Minutes: {minutes}. System 1 saw {states} labelled
states.

**Closed loop** in lockstep, on scenes that no training draws from; `tandem eval` runs the real
loops.

| task / disturbance | success | wrong cube lifted | mean time, s | S2 frames refreshed L1 / L2 |
|---|---|---|---|---|
{loop}

**System 2 by itself**, on held-out clips and demonstrations, weights as stored (float16):
horizontal error of the position that it points at.

| statics, and what has changed since | median, mm | 95 %, mm | over 3 cm |
|---|---|---|---|
{pointing}

Statics of another scene, and dynamic tokens of another time, show that both kinds are used.

**The recache gate**, on pairs of pictures of held-out clips: precision and recall; a kind's
precision as if there were no other kind.

| change | precision | recall | pairs |
|---|---|---|---|
{gate}

Revision {revision}, tandem {tandem}, {packages}; all numbers are in
card.json.
"""


def write(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write `card.json` and `MODEL_CARD.md` beside the weights; returns what card.json holds."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = facts | {
        "tandem": tandem.__version__,
        "revision": _revision(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "files": {
            p.name: p.stat().st_size
            for p in sorted(folder.iterdir())
            if p.suffix in (".onnx", ".safetensors")
        },
    }
    (folder / "card.json").write_text(json.dumps(facts, indent=1, default=_plain) + "\n")
    (folder / "MODEL_CARD.md").write_text(_markdown(facts))
    return facts


def summary(facts: dict[str, Any]) -> str:
    """A few lines for the terminal."""
    lines = [f"{name:12} {minutes:5.1f} min" for name, minutes in facts["minutes"].items()]
    lines += [f"{name:12} {_score(f)}" for name, f in facts["figures"]["closed loop"].items()]
    return "\n".join(lines)


def _score(figures: dict[str, Any]) -> str:
    return f"{figures['success']} of {figures['episodes']}"


def _changes(figures: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Scores by level and by kind; none, if System 2 came from elsewhere without its figures."""
    gate, drawer = (figures.get(name, {}) for name in ("gate", "gate beside a drawer"))
    yield from ((level, gate[level]) for level in ("L1", "L2") if level in gate)
    yield from (gate.get("kinds", {}) | drawer.get("kinds", {})).items()


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} has no place in a card")


def _revision() -> str:
    """The source's git revision, with a plus if files differ from it; "unknown" outside a
    checkout.
    """
    here = Path(__file__).resolve().parent
    try:
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("+" if changed else "")


def _git(where: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=where, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _markdown(facts: dict[str, Any]) -> str:
    figures = facts["figures"]
    minutes = ", ".join(f"{name} {m}" for name, m in facts["minutes"].items())
    tables = _tables(figures, facts["files"])
    told = facts | facts["recipe"]["amounts"] | tables
    states = figures["pick_s1"]["labelled states"]
    return _TEMPLATE.format_map(
        told | {"seed": facts["seed"], "minutes": minutes, "states": states}
    )


def _tables(figures: dict[str, Any], files: dict[str, int]) -> dict[str, str]:
    """Rows of each table of the card."""
    rows = {
        "files": (f"{name} | {size / 1e6:.2f} MB" for name, size in files.items()),
        "loop": (
            f"{name} | {_score(f)} | {f['wrong cube lifted']} | {f['mean time s']} "
            f"| {f['refreshed L1, L2'][0]:.3f} / {f['refreshed L1, L2'][1]:.3f}"
            for name, f in figures["closed loop"].items()
        ),
        "pointing": (
            f"{name} | {e['median_mm']:.1f} | {e['p95_mm']:.1f} | {100 * e['over_3cm']:.1f} %"
            for name, e in figures["pick_s2"].get("pointing", {}).items()
        ),
        "gate": (
            f"{name} | {score['precision']:.3f} | {score['recall']:.3f} | {score['count']}"
            for name, score in _changes(figures["pick_s2"])
        ),
    }
    return {name: "\n".join(f"| {row} |" for row in table) for name, table in rows.items()}
