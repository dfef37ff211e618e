"""Counted multiply-adds against torch's own counter, on the plans that really ran."""

import numpy as np
import pytest
import torch
from tandem.policies.caches import cost
from tandem.policies.caches.dual_cache import DualCache
from tandem.policies.caches.stages import STAGES, Stages
from tandem.policies.caches.ttf import TtfRule
from tandem.policies.caches.vla_cache import VlaCache, VlaCacheRule
from tandem.policies.caches.whole import Interval, Whole
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.policies.caches import tiny

DEPTH = tiny.CONFIG.depth


@pytest.mark.parametrize(
    "strategy",
    [
        Whole(tiny.LAYOUT),
        Interval(tiny.LAYOUT, 3),
        VlaCache(tiny.LAYOUT, tiny.GRID, DEPTH, VlaCacheRule(relevant=16)),
        DualCache(tiny.LAYOUT, tiny.GRID, DEPTH, rule=TtfRule(relevant=16)),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_counts_agree_with_torch(strategy):
    rng = np.random.default_rng(0)
    net = tiny.backbone(layers=2)
    stream = tiny.session(strategy, net, tiny.prompt())
    image = tiny.picture(rng)
    rows = set()
    for _ in range(4):
        # The counter knows no fused attention for CPUs, but what it is made of.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            reading = stream.step(image)
        counted = net.macs(reading.work)
        assert 2 * counted.total == counter.get_total_flops()
        rows.add(reading.work.trunk)
        image = tiny.repainted(image, [3, 8], rng)
    assert len(rows) > 1  # the first step's beginning of the sequence, at the least


def test_rows_that_leave_are_not_counted_from_there_on():
    assert cost.rows_by_layer(4, 20, {1: 5, 3: 2}) == (20, 15, 15, 13)


def test_llama_2_gives_the_published_figure():
    """LAC's 1.864 T are multiply-adds of the trunk's prefill of 285 tokens, and nothing else."""
    config = tiny.TrunkConfig(32, 4096, 32, 32, 128, 11008, 32064)
    assert sum(cost.trunk(config, [285] * 32, 285)) / 1e12 == pytest.approx(1.864, abs=0.004)


def test_stages_add_up_by_name():
    now_ns = iter([0, 2_000_000_000, 5_000_000_000, 6_000_000_000, 7_000_000_000, 9_000_000_000])
    stages = Stages(torch.device("cpu"), lambda: next(now_ns))
    for stage in ("gate", "trunk", "gate"):
        with stages(stage):
            pass
    assert stages.take() == {**dict.fromkeys(STAGES, 0.0), "gate": 4.0, "trunk": 1.0}
    assert set(stages.take().values()) == {0.0}
