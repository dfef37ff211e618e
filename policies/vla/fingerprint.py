"""The name of a latent's meaning, `latent_id`: from the weights and from how they are read out.

Fifteen gigabytes are not read for it. Of every tensor its name, type and shape count, and 16 pieces
of 64 bytes spread evenly over it: another training moves all weights, so any of them tells. A file
in which single numbers were changed by hand may pass unseen.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from tandem.runtime.errors import WeightsError

_PIECES, _PIECE_BYTES = 16, 64


def latent_id(weights: Iterable[Path], readout: dict[str, Any], skip: str = "") -> str:
    """16 hex digits. Into which shards tensors were cut, and in which order, does not matter.

    readout: whatever else decides what the latent means. skip: tensors whose names begin so decide
    when something is computed and not what.

    Raises:
        WeightsError: a file is no safetensors.
    """
    digest = hashlib.sha256(json.dumps(readout, sort_keys=True).encode())
    tensors = {name: piece for file in weights for name, piece in _sampled(file).items()}
    for name in sorted(tensors):
        if not (skip and name.startswith(skip)):
            digest.update(name.encode() + tensors[name])
    return digest.hexdigest()[:16]


def _sampled(file: Path) -> dict[str, bytes]:
    """Of each tensor in the file, a hash of what is looked at."""
    try:
        with file.open("rb") as stream:
            header_bytes = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(header_bytes))
            header.pop("__metadata__", None)
            return {n: _tensor(stream, 8 + header_bytes, about) for n, about in header.items()}
    except (OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise WeightsError(f"{file} is damaged ({error}); download it again") from error


def _tensor(stream: BinaryIO, start: int, about: dict[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps([about["dtype"], about["shape"]]).encode())
    begin, end = about["data_offsets"]
    last = max(end - begin - _PIECE_BYTES, 0)
    for place in sorted({last * i // (_PIECES - 1) for i in range(_PIECES)}):
        stream.seek(start + begin + place)
        digest.update(stream.read(min(_PIECE_BYTES, end - begin - place)))
    return digest.digest()
