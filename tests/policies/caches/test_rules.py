"""Each cache's rule against cases worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.caches import patches as picture
from tandem.policies.caches.dual_cache import DualCache
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.relevance import Relevance, asking_rows, entropy, scaled
from tandem.policies.caches.ttf import Ttf, TtfRule
from tandem.policies.caches.vla_cache import VlaCache, VlaCacheRule, leaving, reuse_shares
from tandem.policies.caches.whole import Interval, Whole
from tandem.policies.trunk.vision import HALF, IMAGENET
from tandem.runtime.errors import ConfigError

from tests.policies.caches import tiny

FEATURES = torch.arange(tiny.GRID**2 * tiny.FEATURES).view(-1, tiny.FEATURES).float()
ALL = list(tiny.LAYOUT.visual_rows)
DEPTH = tiny.CONFIG.depth


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def looking_at(strategy, patches, depth=DEPTH):
    """Teaches a strategy that the text attends to these patches, in every layer."""
    weights = torch.zeros(3, tiny.LAYOUT.rows)
    weights[:, [ALL[p] for p in patches]] = 1 / len(patches)
    strategy.learn(dict.fromkeys(range(depth), weights))


# -- pictures ---------------------------------------------------------------------------------


def test_patches_are_cut_in_raster_order():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, 2:] = 7
    cut = picture.blocks(image, 2)
    assert [float(patch.mean()) for patch in cut] == [0, 7, 0, 0]


def test_a_grid_that_does_not_fit_is_told():
    with pytest.raises(ConfigError, match="resize"):
        picture.blocks(np.zeros((30, 32, 3), np.uint8), 4)


def test_cosine_by_hand():
    before, now = np.full((2, 2, 3), 10, np.uint8), np.full((2, 2, 3), 20, np.uint8)
    now[..., 1:] = 0  # the angle between (1, 1, 1) and (1, 0, 0)
    assert picture.cosine(before, now, 1)[0] == pytest.approx(3**-0.5, abs=1e-6)


def test_luma_change_by_hand():
    before, now = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    now[:2, :2] = (51, 102, 0)
    now[0, 0] = 0  # three of four pixels changed
    change = picture.luma_change(before, now, 2, HALF)
    by_hand = 0.75 * (0.299 * 0.2 + 0.587 * 0.4) / 0.5
    assert change.tolist() == pytest.approx([by_hand, 0, 0, 0])
    red = picture.luma_change(before, np.full((4, 4, 3), (255, 0, 0), np.uint8), 1, IMAGENET)
    assert red[0] == pytest.approx(0.299 / 0.229)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 12))
def test_top_takes_the_highest_and_earlier_of_equals(scores, count):
    chosen = picture.top(torch.tensor(scores), count)
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count]
    assert chosen.nonzero()[:, 0].tolist() == sorted(ranked)


# -- none and interval ------------------------------------------------------------------------


def test_interval_computes_everything_or_nothing(rng):
    strategy, image = Interval(tiny.LAYOUT, 3), tiny.picture(rng)
    frames = []
    for _ in range(7):
        looked = strategy.patches(image)
        rows = strategy.plan(image, FEATURES).rows
        assert (looked is None) == (len(rows) == len(ALL))
        frames.append(len(rows))
    assert [n > 0 for n in frames] == [True, False, False, True, False, False, True]
    with pytest.raises(ConfigError):
        Interval(tiny.LAYOUT, 0)


# -- attention --------------------------------------------------------------------------------


def test_layers_are_scaled_to_the_depth():
    assert [scaled(layer, 32) for layer in (2, 15)] == [2, 15]
    assert [scaled(layer, 8) for layer in (2, 6, 9, 11, 15)] == [0, 2, 2, 3, 4]
    assert scaled(31, 4) == 3


def test_text_that_cannot_see_the_picture_is_not_asked():
    assert asking_rows(tiny.LAYOUT).tolist() == [17, 18, 19]
    first = Layout(bos=1, levels=(), dynamic=4, frames=1, text=2, readout=1, text_first=True)
    assert asking_rows(first).tolist() == list(first.readout_rows)


def test_relevance_is_the_mean_over_the_text():
    relevance = Relevance(tiny.LAYOUT, 2)
    weights = torch.zeros(3, tiny.LAYOUT.rows)
    weights[0, ALL[5]], weights[1, ALL[5]], weights[2, ALL[0]] = 0.3, 0.6, 0.9
    relevance.learn({2: weights})
    assert relevance.scores is not None
    assert relevance.scores[5] == pytest.approx(0.3)
    assert relevance.scores[0] == pytest.approx(0.3)
    assert relevance.scores[1:5].tolist() == [0] * 4


def test_entropy_by_hand():
    assert entropy(torch.tensor([[0.5, 0.5], [1, 0]])) == pytest.approx(np.log(2) / 2)


# -- VLA-Cache --------------------------------------------------------------------------------


def test_reuse_shares_by_hand():
    # Min-max, turned round: 1, 0, 0.5, 1. Rises are damped from the damped value before them.
    shares = reuse_shares([1.0, 3.0, 2.0, 1.0], growth=0.5)
    assert shares == pytest.approx([1.0, 0.0, 0.25, 0.625], abs=1e-6)
    assert reuse_shares([2.0, 2.0], growth=0.5)[0] == pytest.approx(1.0)


def test_the_first_static_patches_leave_and_never_come_back():
    static = torch.tensor([2, 5, 6, 9])
    gone = leaving(static, [0, 0.5, 0.3, 0.8], [0, 1, 2, 3])
    assert {layer: p.tolist() for layer, p in gone.items()} == {0: [2], 1: [2, 5], 3: [2, 5, 6]}
    assert leaving(torch.tensor([], dtype=torch.long), [], [1, 2]) == {}


def test_vla_cache_keeps_what_is_alike_and_not_looked_at(rng):
    rule = VlaCacheRule(most_static=16 * 16, relevant=2 * 16, leave_layers=(8,))
    strategy = VlaCache(tiny.LAYOUT, tiny.GRID, DEPTH, rule)
    image = tiny.picture(rng)
    assert strategy.plan(image, FEATURES).leave == {}
    looking_at(strategy, [0, 7])
    plan = strategy.plan(tiny.repainted(image, [3, 10], rng), FEATURES)
    assert plan.rows.tolist() == ALL
    ((layer, gone),) = plan.leave.items()
    assert layer == 1  # 8 of 32 layers is 1 of 4
    # Equal entropies: every layer may lose all that is static.
    assert gone.tolist() == [ALL[p] for p in range(16) if p not in (0, 7, 3, 10)]


def test_vla_cache_compares_with_the_previous_frame_only(rng):
    """A patch that drifts slowly stays "static" for ever; `max_age` is the cure."""
    for max_age, expected in ((None, [True] * 6), (2, [True, True, False, True, True, False])):
        rule = VlaCacheRule(relevant=0, leave_layers=(8,), max_age=max_age)
        strategy = VlaCache(tiny.LAYOUT, tiny.GRID, DEPTH, rule)
        image = np.full((tiny.SIDE_PX, tiny.SIDE_PX, 3), 100, np.uint8)
        strategy.plan(image, FEATURES)
        stale = []
        for step in range(6):
            looking_at(strategy, [0])
            stale.append(bool(strategy.plan(image + step, FEATURES).leave))
        assert stale == expected


def test_vla_cache_with_nothing_static_goes_on(rng):
    strategy = VlaCache(tiny.LAYOUT, tiny.GRID, DEPTH)
    strategy.plan(tiny.picture(rng), FEATURES)
    looking_at(strategy, [1])
    assert strategy.plan(tiny.picture(rng), FEATURES).leave == {}


# -- TTF and dual cache -----------------------------------------------------------------------


def ttf_rule(**changes):
    return TtfRule(**{"relevant": 16, "keyframe": 4, **changes})  # 16 of 256 is one of 16


def test_ttf_fuses_by_hand(rng):
    strategy = Ttf(tiny.LAYOUT, tiny.GRID, DEPTH, ((tiny.FEATURES, HALF),), ttf_rule())
    image = tiny.picture(rng)
    strategy.plan(image, FEATURES)
    looking_at(strategy, [9])
    other = tiny.repainted(image, [2], rng)
    plan = strategy.plan(other, FEATURES + 1000)
    anew = (plan.features >= 1000).all(1)
    assert plan.rows.tolist() == ALL
    assert anew.nonzero()[:, 0].tolist() == [2, 9]
    # The fused features are what the next frame falls back on, until a keyframe.
    looking_at(strategy, [9])
    again = strategy.plan(other, FEATURES + 2000).features
    assert torch.equal(again[2], FEATURES[2] + 1000)
    assert torch.equal(again[9], FEATURES[9] + 2000)
    strategy.plan(other, FEATURES + 3000)
    assert torch.equal(strategy.plan(other, FEATURES + 4000).features, FEATURES + 4000)


def test_ttf_decides_for_each_tower_by_its_own_pixels(rng):
    towers = ((2, IMAGENET), (4, HALF))
    strategy = Ttf(tiny.LAYOUT, tiny.GRID, DEPTH, towers, ttf_rule(change=0.06, relevant=0))
    before = np.zeros((tiny.SIDE_PX, tiny.SIDE_PX, 3), np.uint8)
    strategy.plan(before, FEATURES)
    looking_at(strategy, [0])
    grey = np.full_like(before, 5)  # 0.039 in SigLIP's units, 0.087 in DINOv2's
    fused = strategy.plan(grey, FEATURES + 1000).features
    assert (fused[:, :2] >= 1000).all()
    assert (fused[:, 2:] < 1000).all()


def test_dual_cache_asks_tower_and_trunk_for_the_same_patches(rng):
    strategy = DualCache(tiny.LAYOUT, tiny.GRID, DEPTH, rule=ttf_rule(keyframe=3))
    image = tiny.picture(rng)
    assert strategy.patches(image) is None
    assert strategy.plan(image, FEATURES).rows.tolist() == ALL
    looking_at(strategy, [4])
    image = tiny.repainted(image, [11], rng)
    looked = strategy.patches(image)
    assert looked is not None
    assert looked.nonzero()[:, 0].tolist() == [4, 11]
    plan = strategy.plan(image, FEATURES)
    assert plan.rows.tolist() == [ALL[4], ALL[11]]
    assert torch.equal(plan.features, FEATURES[[4, 11]])
    strategy.patches(image)
    assert strategy.patches(image) is None  # the third frame after the first is a keyframe


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_every_strategy_starts_with_everything_and_forgets(seed, frames):
    rng = np.random.default_rng(seed)
    for strategy in (
        Whole(tiny.LAYOUT),
        Interval(tiny.LAYOUT, 2),
        VlaCache(tiny.LAYOUT, tiny.GRID, DEPTH),
        Ttf(tiny.LAYOUT, tiny.GRID, DEPTH, ((tiny.FEATURES, HALF),)),
        DualCache(tiny.LAYOUT, tiny.GRID, DEPTH),
    ):
        image = tiny.picture(rng)
        for _ in range(frames):
            strategy.patches(image)
            strategy.plan(image, FEATURES)
            looking_at(strategy, [1, 2])
        strategy.reset()
        assert strategy.patches(image) is None
        plan = strategy.plan(image, FEATURES)
        assert plan.rows.tolist() == ALL
        assert plan.leave == {}
        assert torch.equal(plan.features, FEATURES)
