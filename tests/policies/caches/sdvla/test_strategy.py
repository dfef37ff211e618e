"""SD-VLA as a strategy in a session computes what its own engine computes."""

import numpy as np
import pytest
import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla.engine import Engine
from tandem.policies.caches.sdvla.gate import Gate
from tandem.policies.caches.sdvla.geometry import Geometry, Mode
from tandem.policies.caches.sdvla.history import Spaced
from tandem.policies.caches.sdvla.partition import IndexPartition, MotionPartition
from tandem.policies.caches.sdvla.strategy import StaticDynamic
from tandem.runtime.errors import ConfigError

from tests.policies.caches.sdvla.families import TOLERANCE, difference
from tests.policies.caches.tiny import FEATURES, GRID, backbone, picture, prompt, repainted, session

SIZES = (7, 5, 4)
ORDER = torch.randperm(GRID**2, generator=torch.Generator().manual_seed(5))
NET = backbone()


def gate() -> Gate:
    torch.manual_seed(6)
    made = Gate(FEATURES, GRID**2, 2, (16, 8), (12, 4)).requires_grad_(False)
    for parameter in made.parameters():
        parameter.mul_(5)
    return made


@pytest.mark.parametrize("mode", ["frame_isolated", "recompute_window"])
@pytest.mark.parametrize("frames", [1, 3])
@torch.no_grad()
def test_session_and_engine_agree(mode: Mode, frames: int) -> None:
    layout = Layout(1, SIZES[:2], SIZES[2], frames, 3, 2)
    geometry, partition, words = (
        Geometry(layout, mode),
        IndexPartition(SIZES, ORDER),
        prompt(layout),
    )
    keep = Spaced(0.2, 0.4, 3.0, pinned=1)
    strategy = StaticDynamic(geometry, partition, gate(), Recache((0.55, 0.5), 0.2, 6), keep)
    running, engine = session(strategy, NET, words, layout), Engine(NET.trunk, geometry, keep)
    engine.instruct(words.bos, words.text)
    rng = np.random.default_rng(7)
    image = picture(rng)
    kinds = set()
    for i in range(16):
        image = repainted(image, [3, 9] if i % 5 else list(range(12)), rng)
        if i == 7:
            strategy.decision.force(1)
        reading = running.step(image)
        tokens = NET.vision.projector(NET.vision.look(image))[ORDER].split(SIZES)
        computed = reading.plan.rows.tolist()
        top = next((level for level in (0, 1) if layout.level_rows(level)[0] in computed), None)
        if top is not None:
            engine.refresh(top, tokens[top:2])
        kinds.add(top)
        hidden = engine.advance(tokens[2], words.readout, 0.1 * i)
        assert difference(reading.hidden, hidden) <= TOLERANCE
    assert kinds == {None, 0, 1}, "all kinds of steps were seen"


def test_a_partition_by_motion_starts_anew_with_its_groups() -> None:
    layout = Layout(1, SIZES[:2], SIZES[2], 2, 3, 2)
    strategy = StaticDynamic(
        Geometry(layout), MotionPartition(SIZES, every=4), gate(), Recache((1.0, 1.0))
    )
    running = session(strategy, NET, prompt(layout), layout)
    rng = np.random.default_rng(8)
    image = picture(rng)
    counts = []
    for _ in range(6):
        image = repainted(image, [2, 5], rng)
        counts.append(running.step(image).work.projected)
    assert counts == [16, 4, 4, 16, 4, 4]
    assert {2, 5} <= set(strategy.partition.indices(2).tolist())


def test_what_a_plan_cannot_do_is_refused() -> None:
    layout = Layout(1, SIZES[:2], SIZES[2], 2, 3, 2)
    with pytest.raises(ConfigError, match="append_causal"):
        StaticDynamic(
            Geometry(layout, "append_causal"), IndexPartition(SIZES), gate(), Recache((1.0, 1.0))
        )
