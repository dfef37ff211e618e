"""Rewrites pickled weights as safetensors, once: python -m tandem.policies.trunk.convert FOLDER

Torch's restricted reader builds tensors and containers only and refuses everything that would run
code. Nested dictionaries, such as Prismatic's, become names with dots.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import save_file
from tandem.policies.trunk.checkpoint import PICKLES
from tandem.runtime.errors import TandemError, WeightsError
from torch import Tensor


def convert(folder: Path) -> list[Path]:
    """Writes X.safetensors beside each pickled X in the folder; returns the new files.

    Raises:
        WeightsError: there is none, or one holds more than tensors.
    """
    written = []
    for file in sorted(f for f in folder.iterdir() if f.suffix in PICKLES):
        try:
            content = torch.load(file, "cpu", weights_only=True, mmap=True)
        except UnpicklingError as error:
            raise WeightsError(
                f"{file} holds more than tensors ({error}); ask its authors for safetensors"
            ) from error
        written.append(file.with_suffix(".safetensors"))
        # A copy of each: safetensors refuses tensors that share memory, as tied weights do.
        save_file({name: tensor.clone() for name, tensor in _flat(content)}, written[-1])
    if not written:
        raise WeightsError(f"{folder} has no file of the kinds {', '.join(PICKLES)}")
    return written


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items():
        # Trainers wrap everything in one of these; published names begin below.
        path = prefix if not prefix and name in ("model", "state_dict") else f"{prefix}{name}."
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value.contiguous()
        elif isinstance(value, Mapping):
            yield from _flat(value, path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tandem.policies.trunk.convert FOLDER")
    try:
        for file in convert(Path(sys.argv[1])):
            print(f"wrote {file}")
    except TandemError as error:
        sys.exit(str(error))
