"""A head on disk: graph in `<name>.onnx`, weights in `.safetensors`, their meaning in `.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from tandem.runtime.errors import WeightsError

FORMAT = 1
SUFFIXES = (".onnx", ".safetensors", ".json")
SHIPPED = Path(__file__).resolve().parent.parent / "weights"


@dataclass(frozen=True)
class About:
    """The sidecar. Names and units are those of `S1Spec` and `ActionSpec`."""

    format: int
    kind: str  # "chunk_mlp" or "chunk_flow"
    latent_id: str  # the S2 that it was trained on
    latent_shape: tuple[int, int]  # [K, D]
    actions: tuple[str, ...]
    horizon: int
    dt_ns: int
    max_age_ms: float
    gap_ms: float  # how much older the earlier latent is
    notes: dict[str, Any]
    # Deviation per step and joint [H][J], the unit that a flow head works in.
    spread: tuple[tuple[float, ...], ...] = ()


def resolve(name: str | Path) -> Path:
    """A name of shipped weights, or a path with or without suffix, to the path without suffix."""
    given = Path(name).expanduser()
    path = given if len(given.parts) > 1 or given.suffix else SHIPPED / given
    return path.with_suffix("") if path.suffix in SUFFIXES else path


def save_about(about: About, path: Path) -> None:
    path.with_suffix(".json").write_text(json.dumps(msgspec.to_builtins(about), indent=1) + "\n")


def read_about(name: str | Path, kinds: tuple[str, ...]) -> About:
    """The JSON beside the weights.

    Raises:
        WeightsError: missing, damaged, or of another kind; the message names what is there.
    """
    path = resolve(name).with_suffix(".json")
    try:
        about = msgspec.json.decode(path.read_bytes(), type=About)
    except FileNotFoundError as error:
        found = ", ".join(sorted(p.stem for p in path.parent.glob("*.onnx"))) or "none"
        raise WeightsError(f"no S1 weights at {path}; there: {found}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is no description of S1 weights ({error})") from error
    if about.format != FORMAT or about.kind not in kinds:
        raise WeightsError(
            f"{path} holds {about.kind} of format {about.format}; "
            f"wanted {' or '.join(kinds)} of format {FORMAT}"
        )
    return about
