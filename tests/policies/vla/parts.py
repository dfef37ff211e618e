"""Random parts of a fine-tuned SD-VLA around a checkpoint."""

from pathlib import Path

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.sdvla import lora, storage
from tandem.policies.caches.sdvla.gate import Gate
from tandem.policies.caches.sdvla.geometry import Geometry
from tandem.policies.caches.sdvla.model import SdVla
from tandem.policies.caches.sdvla.partition import IndexPartition
from tandem.policies.trunk.load import load_trunk
from tandem.policies.trunk.towers import load_vision

LAYOUT = Layout(bos=1, levels=(8, 4), dynamic=4, frames=2, text=24, readout=3)


def trained(
    folder: Path,
    parts: Path,
    layout: Layout = LAYOUT,
    bidirectional: bool = False,
    features: int = 80,
) -> Path:
    """Random parts, and adapters that are not zero, as training leaves them."""
    trunk, projector = load_trunk(folder), load_vision(folder).projector
    patches = layout.static + layout.dynamic
    torch.manual_seed(1)
    partition = IndexPartition([*layout.levels, layout.dynamic], torch.randperm(patches))
    gate = Gate(features, patches, len(layout.levels), hidden=(8, 8), mixed=(8, 4))
    model = SdVla(trunk, projector, partition, gate, Geometry(layout, bidirectional=bidirectional))
    torch.nn.init.normal_(model.time.mix.weight, std=0.1)
    storage.save(model, parts)
    adapter = lora.Adapter(rank=2)
    lora.adapt(trunk, adapter)
    for name, weight in trunk.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    lora.save(trunk, adapter, parts / "adapter")
    return parts
