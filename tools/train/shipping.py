"""From a trained head to the two files that ship."""

from pathlib import Path
from typing import Any

import torch
from tandem.drivers.sim import panda
from tandem.policies.s1 import export, storage
from tandem.policies.s1.chunk import ChunkHead
from tandem.policies.s1.flow import FlowHead, GuidedFlow
from tandem.runtime.clock import NS_PER_S
from tandem.tools.train.corpus import AGE_MAX_S, GAP_S
from tandem.tools.train.expert import STEP_S


def ship(
    head: ChunkHead | FlowHead,
    path: Path,
    latent_id: str,
    latent_shape: tuple[int, int],
    notes: dict[str, Any],
) -> int:
    """Write the files of `storage`; returns their bytes. The head's weights end up rounded."""
    config = head.config
    example = {
        "state": torch.zeros(1, config.state),
        "latent": torch.zeros(1, config.latent),
        "before": torch.zeros(1, config.latent),
        "times": torch.zeros(1, 2),
    }
    flows = isinstance(head, FlowHead)
    if flows:
        chunk = torch.zeros(1, config.horizon, config.action)
        steps = torch.zeros(1, config.horizon)
        noisy = {"x": chunk, "tau": torch.zeros(1, 1), "frozen": steps}
        guide = {"target": chunk.clone(), "weights": steps.clone()}
        names = ["velocity", "residual", "pulled"]
        export.export(GuidedFlow(head), noisy | guide | example, names, path)
    else:
        export.export(head, example, ["actions"], path)
    about = storage.About(
        format=storage.FORMAT,
        kind="chunk_flow" if flows else "chunk_mlp",
        latent_id=latent_id,
        latent_shape=latent_shape,
        actions=(*panda.panda_spec().joint_names, "gripper"),
        horizon=config.horizon,
        dt_ns=round(STEP_S * NS_PER_S),
        max_age_ms=AGE_MAX_S * 1e3,
        gap_ms=GAP_S * 1e3,
        notes=notes,
        spread=tuple(map(tuple, head.units.spread.tolist())) if flows else (),
    )
    storage.save_about(about, path)
    return sum(path.with_suffix(s).stat().st_size for s in storage.SUFFIXES)
