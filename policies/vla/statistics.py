"""Where a checkpoint keeps the range of each number of the arm's state."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tandem.policies.trunk.checkpoint import Checkpoint
from tandem.policies.vla.proprio import KEY, Range, StateOptions
from tandem.runtime.errors import ConfigError

# huggingface/lerobot, processor/normalize_processor.py: which two numbers become −1 and 1. A mean
# less and more a standard deviation is MEAN_STD.
_MODES = {"QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90"), "MIN_MAX": ("min", "max")}
_STATE = "observation.state."
_ALOHA = 14  # numbers of its state
_NOTHING = 1e-6  # openpi's quantiles are those of a histogram, and not quite 0


def trained(options: StateOptions, checkpoint: Checkpoint, oft: bool) -> Range:
    """What the user says, over what the checkpoint does; oft: an OpenVLA-OFT or a π0.5.

    Raises:
        ConfigError: nobody says it, or not of which data set.
    """
    if options.range:
        return _given(options)
    return _of_oft(checkpoint.folder, options) if oft else _of_pi(checkpoint, options)


def _given(options: StateOptions) -> Range:
    try:
        low, high = (np.array(bound, float) for bound in options.range)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{KEY}: range is [[−1 is at …], [1 is at …]] ({error})") from error
    if low.ndim != 1 or low.shape != high.shape:
        raise ConfigError(f"{KEY}: range has {low.size} and {high.size} numbers; give as many")
    return Range(low, high, tiny=1e-8)


def _of_oft(folder: Path, options: StateOptions) -> Range:
    """moojink/openvla-oft: dataset_statistics.json; experiments/robot/openvla_utils.py
    (normalize_proprio) and prismatic/vla/constants.py: ALOHA's extremes, all others' quantiles."""
    file = folder / "dataset_statistics.json"
    about = _of_dataset(_read(file), options.dataset, file, "proprio")
    names = ("min", "max") if len(about.get("min", ())) == _ALOHA else ("q01", "q99")
    low, high = _bounds(about, names, file)
    mask = np.array(about.get("mask", np.ones(len(low))), bool)
    return Range(np.where(mask, low, -1), np.where(mask, high, 1), tiny=1e-8, clips=True)


def _of_pi(checkpoint: Checkpoint, options: StateOptions) -> Range:
    """LeRobot keeps them in a safetensors of its own, openpi in assets/<name>/norm_stats.json."""
    if any(name.startswith(_STATE) for name in checkpoint):
        return _of_lerobot(checkpoint)
    files = {file.parent.name: file for file in checkpoint.folder.glob("assets/**/norm_stats.json")}
    file = _of_dataset(files, options.dataset, checkpoint.folder / "assets")
    stats = _read(file)
    low, high = _bounds(stats.get("norm_stats", stats).get("state", {}), ("q01", "q99"), file)
    # Some count numbers that a state was filled up with, which are always 0; its prompt does not.
    moved = np.flatnonzero((abs(low) > _NOTHING) | (abs(high) > _NOTHING))
    count = moved[-1] + 1 if len(moved) else len(low)
    return Range(low[:count], high[:count], tiny=1e-6)


def _of_lerobot(checkpoint: Checkpoint) -> Range:
    mode = checkpoint.config.get("normalization_mapping", {}).get("STATE", "QUANTILES")
    stats = {name: checkpoint.read(name).tolist() for name in checkpoint if name.startswith(_STATE)}
    stats = {name.removeprefix(_STATE): numbers for name, numbers in stats.items()}
    if mode == "IDENTITY":
        size = max(map(len, stats.values()))
        return Range(-np.ones(size), np.ones(size))
    where = checkpoint.folder / "config.json"
    if mode == "MEAN_STD":
        mean, spread = _bounds(stats, ("mean", "std"), where)
        return Range(mean - spread, mean + spread, tiny=1e-8)
    if mode not in _MODES:
        raise ConfigError(f"{where} normalises STATE by {mode}, which is not known; {_OUTRIGHT}")
    return Range(*_bounds(stats, _MODES[mode], where))


_OUTRIGHT = f"give the numbers outright as {KEY}: {{range: [[−1 is at …], [1 is at …]]}}"


def _of_dataset(found: Mapping[str, Any], named: str, file: Path, part: str = "") -> Any:
    """The one there is, or the one that is named."""
    usable = {name: about for name, about in found.items() if not part or part in about}
    name = named or (next(iter(usable)) if len(usable) == 1 else "")
    if name in usable:
        return usable[name][part] if part else usable[name]
    if usable:
        told = ", ".join(sorted(usable))
        raise ConfigError(f"{file} has statistics of {told}; name one as {KEY}: {{dataset: …}}")
    raise ConfigError(f"{file} has no statistics of the arm's state; {_OUTRIGHT}")


def _bounds(about: Mapping[str, Sequence[float]], names: Sequence[str], file: Path) -> Any:
    if not all(name in about for name in names):
        wanted = " and ".join(names)
        raise ConfigError(f"{file} does not hold {wanted} of the arm's state; {_OUTRIGHT}")
    return [np.array(about[name], float) for name in names]


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} cannot be read ({error}): it says what the numbers of the arm's state mean. "
            f"Copy it again, or {_OUTRIGHT}"
        ) from error
