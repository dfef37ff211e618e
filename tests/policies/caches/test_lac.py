"""LAC: choice, recovery, training; and that what it learns is to see what moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.caches import lac_data, lac_training
from tandem.policies.caches.error import relative_error
from tandem.policies.caches.flow import dis
from tandem.policies.caches.lac import Lac, LacRule, active_count, filled_up
from tandem.policies.caches.lac_networks import Choice, LacNetworks, motion_input
from tandem.policies.caches.lac_training import cached_forward, chosen, ratio_choice, top_mask
from tandem.policies.caches.session import Backbone
from tandem.policies.caches.whole import Whole
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tests.policies.caches import tiny

GRID, SIDE_PX = 8, 64  # twice tiny's grid: optical flow needs some pixels
N = GRID**2
LAYOUT = replace(tiny.LAYOUT, dynamic=N)


def striking(net: Backbone) -> Backbone:
    """What a patch shows counts for more than it does at random, so that staleness hurts."""
    with torch.no_grad():
        net.vision.towers[0].vit.patch.weight *= 3
        for layer in net.vision.projector.layers:
            layer.weight *= 4
    return net


NET = striking(tiny.backbone(grid=GRID))
WORDS = tiny.prompt(LAYOUT)


def textured(seed: int) -> np.ndarray:
    """Smooth enough for flow, rich enough for it, too."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 16, 16)))
    wide = functional.interpolate(coarse, (SIDE_PX, SIDE_PX), mode="bicubic").clamp(0, 255)
    return np.ascontiguousarray(wide[0].permute(1, 2, 0).numpy().astype(np.uint8))


def film(seed: int, frames: int) -> tuple[list[np.ndarray], list[torch.Tensor]]:
    """A square of two by two patches moves over a still ground; truth is which patches changed."""
    ground, thing = textured(seed), textured(seed + 1)[:16, :16]
    rng = np.random.default_rng(seed)
    y, x, images = 24, 24, []
    for _ in range(frames):
        image = ground.copy()
        image[y : y + 16, x : x + 16] = thing
        images.append(image)
        y, x = (int(np.clip(p + rng.integers(-4, 5), 0, 48)) for p in (y, x))
    before = [images[0], *images[:-1]]
    changed = [
        torch.from_numpy((a != b).any(-1).reshape(GRID, 8, GRID, 8).any((1, 3)).ravel())
        for a, b in zip(before, images, strict=True)
    ]
    return images, changed


class FixedNetworks(LacNetworks):
    """Says always the same."""

    def __init__(self, scores: torch.Tensor, ratio: int) -> None:
        super().__init__(GRID)
        self.said = Choice(scores[None], functional.one_hot(torch.tensor([ratio]), 6).float())

    def forward(self, motion: torch.Tensor) -> Choice:
        return self.said


# -- flow and networks ----------------------------------------------------------------------------


def test_flow_finds_a_shift():
    image = textured(5)
    moved = np.roll(image, (1, 2), (0, 1))
    u, v = np.median(dis()(image, moved)[16:48, 16:48], (0, 1))
    assert (u, v) == (pytest.approx(2, abs=0.7), pytest.approx(1, abs=0.7))


@pytest.mark.parametrize(("side", "channels"), [(64, (32, 64, 128)), (100, (8, 16, 32))])
def test_the_networks_cost_what_they_say(side, channels):
    networks = LacNetworks(GRID, channels=channels)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        choice = networks(torch.zeros(1, 5, side, side))
    assert choice.scores.shape == (1, N)
    assert counter.get_total_flops() == 2 * networks.macs(side)


@given(st.floats(-40, 40, width=32))
def test_a_slow_slide_and_a_jump_are_of_the_size_of_the_picture(pixels):
    flow = np.full((8, 8, 2), pixels, np.float32)
    motion = motion_input(np.full((8, 8, 3), 255, np.uint8), flow)
    assert motion.shape == (5, 8, 8)
    assert motion[:3].unique().item() == 1
    strength = motion[3:].unique().item()
    assert abs(strength) < 6
    assert abs(strength) >= min(abs(pixels), 1)
    assert strength * pixels >= 0


# -- the choice -----------------------------------------------------------------------------------


def test_active_patches_by_hand():
    assert [active_count(r, 256) for r in (0.3, 0.5, 0.8)] == [179, 128, 51]


@given(st.integers(0, 2**31), st.integers(0, 64), st.integers(1, 20))
def test_buckets_are_filled_with_the_best_of_the_rest(seed, active, bucket):
    torch.manual_seed(seed)
    scores = torch.rand(64)
    anew = torch.zeros(64, dtype=torch.bool)
    anew[torch.randperm(64)[:active]] = True
    full = filled_up(anew, scores, bucket)
    assert full[anew].all()
    assert full.sum() == min(-(-active // bucket) * bucket, 64)
    added, left = scores[full & ~anew], scores[~full]
    assert not len(added) or not len(left) or added.min() >= left.max()


def run(strategy: Lac, steps: int) -> list[torch.Tensor]:
    image, features = textured(0), torch.zeros(N, 3)
    rows = [strategy.plan(image, features).rows for _ in range(steps)]
    assert [len(r) for r in rows[:1]] == [N]
    return rows[1:]


def test_top_scores_are_computed_and_all_others_in_turn():
    scores = torch.linspace(1, 0, N)
    rule = LacRule(recovered=0.1, bucket=1)  # six patches a step
    rows = run(Lac(LAYOUT, FixedNetworks(scores, 5), dis(), rule), 12)
    best = set(range(1, 1 + active_count(0.8, N)))
    assert all(best <= set(r.tolist()) for r in rows)
    assert set().union(*(r.tolist() for r in rows[:11])) == set(LAYOUT.visual_rows)


def test_random_recovery_is_repeatable_and_never_twice_the_same_patch():
    rule = LacRule(recovery="random", recovered=0.1, bucket=1)
    strategy = Lac(LAYOUT, FixedNetworks(torch.linspace(1, 0, N), 5), dis(), rule)
    first = run(strategy, 4)
    assert [len(r) for r in first] == [active_count(0.8, N) + 6] * 3
    strategy.reset()
    assert all(torch.equal(a, b) for a, b in zip(first, run(strategy, 4), strict=True))


class FlowSpy:
    """No motion anywhere; remembers what it was asked about."""

    def __call__(self, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        self.before = before
        return np.zeros((*now.shape[:2], 2), np.float32)


def test_motion_is_since_each_row_was_last_computed():
    """A slide too slow to be seen from one frame to the next adds up until it is."""
    spy, features = FlowSpy(), torch.zeros(N, 3)
    networks = FixedNetworks(torch.linspace(1, 0, N), 5)
    strategy = Lac(LAYOUT, networks, spy, LacRule(recovered=0, bucket=1))
    images = [textured(seed) for seed in range(3)]
    rows = [strategy.plan(image, features).rows - LAYOUT.visual_rows.start for image in images]
    size = SIDE_PX // GRID
    for patch in range(N):
        y, x = (size * p for p in divmod(patch, GRID))
        last = images[1] if patch in rows[1] else images[0]
        part = np.s_[y : y + size, x : x + size]
        np.testing.assert_array_equal(spy.before[part], last[part])


# -- training -------------------------------------------------------------------------------------


def test_masks_are_hard_forward_and_soft_backward():
    scores = torch.tensor([[0.9, 0.2, 0.5, 0.4]], requires_grad=True)
    mask = top_mask(scores, 2, temperature=0.1)
    assert torch.allclose(mask, torch.tensor([[1.0, 0, 1, 0]]), atol=1e-6)
    mask.sum().backward()
    soft = ((scores - 0.5) / 0.1).sigmoid()
    by_hand = soft * (1 - soft) / 0.1
    by_hand[0, 2] -= by_hand.sum()  # the threshold is the score of the second best
    assert scores.grad is not None
    assert torch.allclose(scores.grad, by_hand, atol=1e-5)
    assert scores.grad.sum() == pytest.approx(0, abs=1e-5)  # all alike higher would change nothing


def test_the_task_reaches_the_ratio_too():
    torch.manual_seed(0)
    scores, logits = torch.rand(2, N), torch.zeros(2, 6, requires_grad=True)
    _, hard = ratio_choice(logits, 1.0)
    mask = chosen(Choice(scores, logits), hard, LacNetworks(GRID).ratios, 0.1)
    assert torch.allclose(mask.round(), mask, atol=1e-5)
    mask.sum().backward()
    assert logits.grad is not None
    assert (logits.grad != 0).all()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31))
def test_training_computes_what_the_cache_will(seed):
    """`cached_forward` is the session's own step, read-out for read-out."""
    torch.manual_seed(seed)
    images, _ = film(seed, 2)
    scores = torch.rand(N)
    strategy = Lac(LAYOUT, FixedNetworks(scores, 2), dis(), LacRule(recovered=0))
    stream = tiny.session(strategy, NET, WORDS, LAYOUT)
    stream.step(images[0])
    reading = stream.step(images[1])
    before, now = (stream.whole_inputs(image)[None] for image in images)
    anew = torch.zeros(1, N)
    anew[0, reading.plan.rows - LAYOUT.visual_rows.start] = 1
    hidden = cached_forward(NET.trunk, LAYOUT, before, now, anew)[0, -LAYOUT.readout :]
    assert relative_error(hidden, reading.hidden) < 1e-5


def task_unit(batch: lac_training.Pairs) -> float:
    """The task's loss when nothing is computed anew."""
    nothing = torch.zeros(len(batch.now), N)
    hidden = cached_forward(NET.trunk, LAYOUT, batch.before, batch.now, nothing)
    return float(functional.mse_loss(hidden[:, -LAYOUT.readout :], batch.target))


@pytest.fixture(scope="module")
def trained():
    """Both stages on a small trunk; losses of each, and the networks."""
    torch.manual_seed(1)
    flow, seen = dis(), []
    for seed in range(3):
        seen += lac_data.watch(NET, LAYOUT, WORDS, film(10 * seed, 12)[0], flow, layer=2)
    networks = LacNetworks(GRID)
    recipe = lac_training.LacRecipe(learning_rate=1e-3, keep=0.1)
    first = lac_training.align(networks, lac_data.aligning(seen, 4, 30), recipe)
    unit = task_unit(next(lac_data.pairs(seen, 16, 1)))
    second = lac_training.finetune(
        networks,
        NET.trunk,
        LAYOUT,
        lac_data.pairs(seen, 4, 80),
        lambda hidden, target: functional.mse_loss(hidden, target) / unit,
        recipe,
    )
    return networks, first, second


def test_both_stages_learn(trained):
    _, first, second = trained
    assert np.mean(first[-5:]) < 0.8 * np.mean(first[:5])
    assert np.mean(second[-20:]) < np.mean(second[:20]) - 0.05


def test_what_is_learnt_is_what_moves(trained):
    networks, _, _ = trained
    images, changed = film(777, 20)
    strategy = Lac(LAYOUT, networks, dis(), LacRule(recovered=0, bucket=1))
    caught, share = [], []
    for image, truth in zip(images, changed, strict=True):
        rows = strategy.plan(image, torch.zeros(N, 3)).rows - LAYOUT.visual_rows.start
        if truth.any() and len(rows) < N:
            caught.append(float(torch.isin(truth.nonzero()[:, 0], rows).float().mean()))
            share.append(len(rows) / N)
    assert np.mean(caught) > 0.85
    assert np.mean(share) < 0.8


def test_the_trained_cache_beats_one_of_equal_size_that_looks_elsewhere(trained):
    networks, _, _ = trained
    images, _ = film(778, 16)
    wrong = FixedNetworks(torch.linspace(1, 0, N), 2)
    rule = LacRule(recovered=0, bucket=1)
    truth = tiny.session(Whole(LAYOUT), NET, WORDS, LAYOUT)
    errors = []
    for chooser in (networks, wrong):
        flow = dis()
        stream = tiny.session(Lac(LAYOUT, chooser, flow, rule), NET, WORDS, LAYOUT)
        pairs = [(stream.step(image).hidden, truth.step(image).hidden) for image in images]
        errors.append(np.mean([relative_error(*pair) for pair in pairs]))
    assert errors[0] < errors[1]
