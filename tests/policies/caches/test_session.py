"""What a plan does to the read-out: exact where it must be, and faults are seen."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.caches.dual_cache import DualCache
from tandem.policies.caches.error import relative_error
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.session import Backbone, Prompt, Session
from tandem.policies.caches.strategy import Plan
from tandem.policies.caches.ttf import Ttf, TtfRule
from tandem.policies.caches.vla_cache import VlaCache, VlaCacheRule
from tandem.policies.caches.whole import Interval, Whole
from tandem.policies.trunk.masks import causal
from tandem.policies.trunk.vision import HALF, Vision

from tests.policies.caches import tiny

DEPTH = tiny.CONFIG.depth
TOWERS = ((tiny.FEATURES, HALF),)
NET = tiny.backbone()
WORDS = tiny.prompt()


def session(strategy, layout=tiny.LAYOUT, words=WORDS) -> Session:
    return tiny.session(strategy, NET, words, layout)


def full_forward(image, layout=tiny.LAYOUT, words: Prompt = WORDS) -> torch.Tensor:
    """The read-out of one whole causal forward without any cache."""
    picture = NET.vision.projector(NET.vision.look(image))
    parts = [words.bos, picture, words.text, words.readout]
    if layout.text_first:
        parts = [words.bos, words.text, picture, words.readout]
    x = torch.cat(parts)
    hidden = NET.trunk(x[None], torch.arange(layout.rows), causal(layout.rows))
    return hidden[0, -layout.readout :]


def film(rng, frames, repaint=3):
    image = tiny.picture(rng)
    for _ in range(frames):
        yield image
        image = tiny.repainted(image, rng.choice(16, repaint, replace=False).tolist(), rng)


@pytest.mark.parametrize("text_first", [False, True])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_none_is_the_full_forward_on_every_frame(text_first, seed):
    layout = Layout(1, (), 16, 1, 3, 2, text_first)
    stream = session(Whole(layout), layout)
    for image in film(np.random.default_rng(seed), 3):
        reading = stream.step(image)
        assert relative_error(reading.hidden, full_forward(image, layout)) < 1e-5
        assert torch.equal(reading.logits, NET.trunk.logits(reading.hidden))


class Dealer(Whole):
    """All rows go through the trunk, in as many steps as it takes: an order, not a cache."""

    def plan(self, image, features):
        return Plan(self._rows, features, leave={0: self._rows[:0], 2: self._rows[:0]})


class Forgetful(VlaCache):
    """The planted fault: once static, always static, whatever the pictures show."""

    def _static(self, image):
        static = super()._static(image)
        return static if self._before is None else torch.arange(1, 16)


def test_rows_that_leave_nowhere_change_nothing():
    image = tiny.picture(np.random.default_rng(1))
    stream = session(Dealer(tiny.LAYOUT))
    for _ in range(2):
        assert relative_error(stream.step(image).hidden, full_forward(image)) < 1e-5


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_every_cache_is_exact_on_a_picture_that_stands_still(seed):
    image = tiny.picture(np.random.default_rng(seed))
    truth = full_forward(image)
    for strategy in (
        Interval(tiny.LAYOUT, 3),
        VlaCache(tiny.LAYOUT, tiny.GRID, DEPTH, VlaCacheRule(relevant=32)),
        Ttf(tiny.LAYOUT, tiny.GRID, DEPTH, TOWERS),
        DualCache(tiny.LAYOUT, tiny.GRID, DEPTH),
    ):
        stream = session(strategy)
        kept = 0
        for _ in range(5):
            reading = stream.step(image)
            assert relative_error(reading.hidden, truth) < 1e-5
            kept += len(reading.plan.leave) or len(reading.plan.rows) < 16
        assert kept or isinstance(strategy, Ttf)


def test_ttf_without_tolerance_is_none():
    rng = np.random.default_rng(2)
    for rule in (TtfRule(change=0, relevant=0), TtfRule(change=9, relevant=256)):
        stream = session(Ttf(tiny.LAYOUT, tiny.GRID, DEPTH, TOWERS, rule))
        for image in film(rng, 5, repaint=16):  # all pixels change: zero tolerance keeps none
            assert relative_error(stream.step(image).hidden, full_forward(image)) < 1e-5


def test_dual_cache_without_tolerance_is_none():
    stream = session(DualCache(tiny.LAYOUT, tiny.GRID, DEPTH, rule=TtfRule(change=0, relevant=0)))
    for image in film(np.random.default_rng(5), 5, repaint=16):
        assert relative_error(stream.step(image).hidden, full_forward(image)) < 1e-5


def test_a_cache_that_forgets_to_refresh_is_found_out():
    """The same pictures: what the honest one gets wrong, the faulty one gets far more wrong."""
    rule = VlaCacheRule(relevant=16, leave_layers=(8,))
    errors = {}
    for kind in (VlaCache, Forgetful):
        stream = session(kind(tiny.LAYOUT, tiny.GRID, DEPTH, rule))
        pictures = film(np.random.default_rng(4), 12)
        found = [relative_error(stream.step(i).hidden, full_forward(i)) for i in pictures]
        errors[kind] = float(np.mean(found[1:]))
    assert errors[Forgetful] > 1.5 * errors[VlaCache] > 0


def test_stale_rows_keep_keys_and_values_byte_for_byte():
    rng = np.random.default_rng(6)
    stream = session(DualCache(tiny.LAYOUT, tiny.GRID, DEPTH, rule=TtfRule(relevant=0)))
    image = tiny.picture(rng)
    stream.step(image)
    keys = stream.kv.keys.clone()
    reading = stream.step(tiny.repainted(image, [5, 6], rng))
    changed = (stream.kv.keys != keys).any(-1).any(2).any(0)[0].nonzero()[:, 0].tolist()
    assert changed == [*reading.plan.rows.tolist(), *range(17, tiny.LAYOUT.rows)]
    assert reading.plan.rows.tolist() == [6, 7]


def test_only_the_planned_patches_are_looked_at():
    rng = np.random.default_rng(7)
    dual = DualCache(tiny.LAYOUT, tiny.GRID, DEPTH, rule=TtfRule(relevant=0, keyframe=9))
    for strategy, expected in ((Interval(tiny.LAYOUT, 2), [16, 16]), (dual, [16, 2, 2, 2])):
        tower = tiny.WatchedTower(NET.vision.towers[0].vit)
        stream = session(strategy)
        stream.backbone = Backbone(Vision([tower], [HALF], NET.vision.projector), NET.trunk)
        counted = [stream.step(image).work.patches for image in film(rng, 4, repaint=2)]
        assert tower.looked == expected == [n for n in counted if n]


def test_a_reset_leaves_no_trace():
    rng = np.random.default_rng(8)
    stream = session(VlaCache(tiny.LAYOUT, tiny.GRID, DEPTH))
    for image in film(rng, 3):
        stream.step(image)
    stream.reset()
    image = tiny.picture(rng)
    assert relative_error(stream.step(image).hidden, full_forward(image)) < 1e-5
