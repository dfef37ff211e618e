"""A public checkpoint in a local folder: config.json, and tensors read by name when asked for.

Only safetensors. A pickle can run any code when it is opened, so such files are refused here and
converted once, see `convert`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from tandem.runtime.errors import WeightsError
from torch import Tensor, nn

PICKLES = (".bin", ".pt", ".pth", ".ckpt")  # what weights are pickled as


class Checkpoint:
    """Files stay mapped, not read: of 15 GB only what is asked for ever comes into memory."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.config = _config(self.folder)
        self._where: dict[str, Any] = {}
        for file in _shards(self.folder):
            try:
                shard = safe_open(file, "pt")
            except SafetensorError as error:
                raise WeightsError(f"{file} is damaged ({error}); download it again") from error
            self._where.update(dict.fromkeys(shard.keys(), shard))

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._shard(name).get_slice(name).get_shape())

    def numbered(self, prefix: str) -> int:
        """How many layers, numbered from 0, have names that begin with `prefix`."""
        names = (name.removeprefix(prefix) for name in self if name.startswith(prefix))
        return 1 + max(int(name.split(".", 1)[0]) for name in names)

    def read(self, name: str) -> Tensor:
        return self._shard(name).get_tensor(name)

    def _shard(self, name: str) -> Any:
        if name not in self._where:
            raise WeightsError(
                f"{self.folder} has no tensor {name}. Is a shard missing, or was the checkpoint "
                f"saved by a library that names tensors differently? It has {self._similar(name)}."
            )
        return self._where[name]

    def _similar(self, name: str) -> str:
        end = name.rsplit(".", 2)[-2:]
        similar = [other for other in self._where if other.rsplit(".", 2)[-2:] == end]
        return f"{similar[0]}, for example" if similar else f"{len(self._where)} others"


def fill(
    module: nn.Module,
    names: Mapping[str, tuple[str, ...]],
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    device: torch.device | str,
    made: Mapping[str, Tensor] | None = None,
) -> None:
    """Gives a module built on "meta" its parameters.

    names: for each parameter the tensors that it is made of, one below the other; a name with `|`
    lists alternatives. made: parameters that are given outright.

    Raises:
        WeightsError: a tensor is missing, or is not of the shape that config.json promises.
    """
    state = {name: tensor.to(device, dtype) for name, tensor in (made or {}).items()}
    for name, parameter in module.named_parameters():
        if name in state:
            continue
        sources = [_present(source, checkpoint) for source in names[name]]
        tensor = torch.cat([checkpoint.read(source) for source in sources])
        state[name] = _shaped(tensor, parameter.shape, sources, checkpoint).to(device, dtype)
    module.load_state_dict(state, assign=True)
    module.eval().requires_grad_(False)


def _present(names: str, checkpoint: Checkpoint) -> str:
    options = names.split("|")
    return next((name for name in options if name in checkpoint), options[0])


def _shaped(
    tensor: Tensor, shape: torch.Size, sources: list[str], checkpoint: Checkpoint
) -> Tensor:
    """The tensor, also where it is a convolution for our matrix, or has a batch of one before."""
    views = [tensor]
    if tensor.dim() > 1:
        views += [tensor.flatten(1), tensor.flatten(0, 1)]
    for view in views:
        if view.shape == shape:
            return view.contiguous()
    raise WeightsError(
        f"{' + '.join(sources)} in {checkpoint.folder} is {[*tensor.shape]} where config.json "
        f"makes it {[*shape]}; the two files are not from the same model"
    )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.exists():
        raise WeightsError(f"{path} does not exist; give the folder of a downloaded checkpoint")
    return _json(path)


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise WeightsError(f"{path} is no JSON ({error}); download it again") from error


def _shards(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    for index in folder.glob("*.safetensors.index.json"):
        wanted = set(_json(index)["weight_map"].values())
        missing = sorted(wanted - {file.name for file in files})
        if missing:
            raise WeightsError(f"{folder} lacks {', '.join(missing)}; {index.name} names them")
    if files:
        return files
    pickled = [file for file in folder.iterdir() if file.suffix in PICKLES]
    if pickled:
        raise WeightsError(
            f"{pickled[0]} is a pickle, which may run code when opened. Convert it once, in a "
            f"reader that runs none: python -m tandem.policies.trunk.convert {folder}"
        )
    raise WeightsError(f"{folder} has no *.safetensors; give the folder of a downloaded checkpoint")
