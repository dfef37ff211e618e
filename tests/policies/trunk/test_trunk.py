"""Laws of the trunk on random weights: whatever is computed in pieces equals the whole."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.trunk import masks
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.kv import KvStore
from tandem.policies.trunk.layers import attend
from tandem.policies.trunk.probe import Probe
from tandem.policies.trunk.trunk import Trunk
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.policies.trunk.zoo import assert_same

N, ROWS = 12, 17
TRAITS = {
    "llama": {},
    "one key head": {"kv_heads": 1, "norm_offset": True, "activation": "gelu_tanh"},
    "all key heads": {"kv_heads": 4, "qk_norm": True},
    "three axes": {"qkv_bias": True, "mrope": (1, 1, 2), "rope_theta": 1e6},
}


def build(**traits: object) -> Trunk:
    torch.manual_seed(0)
    sizes = {"depth": 3, "width": 32, "heads": 4, "kv_heads": 2, "head_dim": 8, "mlp": 48}
    trunk = Trunk(TrunkConfig(**{**sizes, "vocab": 40, **traits})).eval().requires_grad_(False)
    for parameter in trunk.blocks.parameters():
        parameter.mul_(2.5 if parameter.dim() == 2 else 1).add_(torch.randn_like(parameter) * 0.1)
    return trunk


TRUNKS = {name: build(**traits) for name, traits in TRAITS.items()}
trunks = st.sampled_from(list(TRUNKS)).map(TRUNKS.get)
X = torch.randn(1, N, 32, generator=torch.Generator().manual_seed(3))
OTHER = torch.randn(1, N, 32, generator=torch.Generator().manual_seed(4))


@st.composite
def sequences(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """(block numbers [N], rows of the store [N], positions [N] or [3, N])."""
    sizes = draw(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=4))
    ids = masks.block_ids([*sizes, (N, draw(st.booleans()))])[:N]
    rows = torch.tensor(draw(st.permutations(range(ROWS)))[:N])
    places = torch.tensor(draw(st.lists(st.integers(0, 300), min_size=N, max_size=N)))
    return ids, rows, places


def axes(trunk: Trunk, places: Tensor) -> Tensor:
    return torch.stack((places, places % 7, places % 5)) if trunk.config.mrope else places


def wide(seen: Tensor, rows: Tensor) -> Tensor:
    """The mask [N, N] of a sequence on the rows of the store [N, ROWS]."""
    out = torch.zeros(len(seen), ROWS, dtype=torch.bool)
    out[:, rows] = seen
    return out


def filled(trunk: Trunk) -> KvStore:
    """A store whose rows hold something else: what nobody may see."""
    store = trunk.store(ROWS)
    store.keys.normal_(generator=torch.Generator().manual_seed(5)).mul_(9)
    store.values.normal_(generator=torch.Generator().manual_seed(6)).mul_(9)
    return store


@given(trunks, sequences(), st.lists(st.booleans(), min_size=N, max_size=N))
@settings(max_examples=40, deadline=None)
@torch.inference_mode()
def test_any_split_into_steps_is_the_whole(trunk: Trunk, sequence: tuple, cuts: list) -> None:
    """Cut anywhere between blocks, at rows out of order, with bidirectional blocks."""
    ids, rows, places = sequence
    seen, positions = masks.block_seen(ids, ids), axes(trunk, places)
    whole, kv = trunk(X, positions, seen), filled(trunk)
    starts = [0, *(i for i in range(1, N) if cuts[i] and ids[i] != ids[i - 1]), N]
    for start, end in pairwise(starts):
        part = slice(start, end)
        mask = wide(seen[part], rows)
        hidden = trunk.step(X[:, part], rows[part], positions[..., part], mask, kv)
        assert_same(hidden, whole[:, part])


@given(trunks, sequences(), st.sets(st.integers(0, N - 1), min_size=1))
@settings(max_examples=25, deadline=None)
@torch.inference_mode()
def test_computing_any_rows_anew_changes_nothing(trunk: Trunk, sequence: tuple, anew: set) -> None:
    ids, rows, places = sequence
    mask, positions = wide(masks.block_seen(ids, ids), rows), axes(trunk, places)
    kv = filled(trunk)
    whole = trunk.step(X, rows, positions, mask, kv)
    before = kv.keys.clone(), kv.values.clone()
    some = torch.tensor(sorted(anew, reverse=True))
    again = trunk.step(X[:, some], rows[some], positions[..., some], mask[some], kv)
    assert_same(again, whole[:, some])
    assert_same(kv.keys, before[0])
    assert_same(kv.values, before[1])


@given(trunks, sequences(), st.data())
@settings(max_examples=25, deadline=None)
@torch.inference_mode()
def test_dropped_rows_keep_what_they_had(
    trunk: Trunk, sequence: tuple, data: st.DataObject
) -> None:
    """Against a loop over layers that computes every row and puts the old ones back."""
    ids, rows, places = sequence
    seen, positions = masks.block_seen(ids, ids), axes(trunk, places)
    mask, alive, drop = wide(seen, rows), torch.ones(N, dtype=torch.bool), {}
    kv, slow = filled(trunk), filled(trunk)
    for store in (kv, slow):
        trunk.step(OTHER, rows, positions, mask, store)
    x = X
    for layer in range(trunk.config.depth):
        if data.draw(st.booleans()):
            left = alive.nonzero()[:, 0].tolist()
            kept = sorted(data.draw(st.sets(st.sampled_from(left), min_size=1)))
            drop[layer] = torch.tensor(kept)
            alive[:] = False
            alive[kept] = True
        old = slow.keys[layer].clone(), slow.values[layer].clone()
        # Rows that are gone must not write, so the slow way restores them before attention.
        query, key, value = trunk.blocks[layer].split(
            x, trunk._rows(X, rows, positions, mask, slow).by
        )
        keys, values = slow.write(layer, rows, key, value)
        gone = rows[~alive]
        keys[:, :, gone], values[:, :, gone] = old[0][:, :, gone], old[1][:, :, gone]
        bias = torch.zeros(1, 1, N, ROWS).masked_fill(~mask, -torch.inf)
        group = trunk.config.group
        full = attend(
            query, keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1), bias
        )
        x = torch.where(alive[:, None], trunk.blocks[layer].join(x, full), x)
    assert_same(trunk.step(X, rows, positions, mask, kv, drop=drop), trunk.norm(x))
    assert_same(kv.keys, slow.keys)
    assert_same(kv.values, slow.values)


@torch.inference_mode()
@pytest.mark.parametrize("name", TRUNKS)
@pytest.mark.parametrize("dropped", [False, True])
def test_a_probe_reads_the_attention_that_was_paid(name: str, dropped: bool) -> None:
    """Probed weights times values are the attended values, averaged over heads."""
    trunk, kv, at = TRUNKS[name], filled(TRUNKS[name]), torch.arange(N)
    mask = wide(masks.causal(N), at)
    queries = torch.tensor([4, N - 1])
    probe = Probe((1, 2), queries)
    drop = {1: torch.tensor([2, 4, 7, N - 1])} if dropped else None
    plain = trunk.step(X, at, axes(trunk, at), mask, filled(trunk), drop=drop)
    probed = trunk.step(X, at, axes(trunk, at), mask, kv, drop=drop, probe=probe)
    assert probed.equal(plain)
    for layer in (1, 2):
        weights = probe.weights[layer]
        assert weights.shape == (2, ROWS)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2))
        assert not weights[:, N:].any()
        assert not weights[0, 5:].any()
        assert (weights[1, :N] > 0).all()
    some = Probe((2,), queries, torch.tensor([3, 0]))
    trunk.step(X, at, axes(trunk, at), mask, kv, drop=drop, probe=some)
    assert some.weights[2].equal(probe.weights[2][:, [3, 0]])


@torch.inference_mode()
def test_probed_weights_are_those_of_attention_written_out() -> None:
    trunk, at = TRUNKS["llama"], torch.arange(N)
    kv = trunk.store(N)
    probe = Probe((0,), at)
    trunk.step(X, at, at, masks.causal(N), kv, probe=probe)
    query, key, _ = trunk.blocks[0].split(X, trunk._rows(X, at, at, masks.causal(N), kv).by)
    scores = query @ key.repeat_interleave(2, 1).mT / 8**0.5
    weights = scores.masked_fill(~masks.causal(N), -torch.inf).softmax(-1).mean(1)[0]
    torch.testing.assert_close(probe.weights[0], weights)


@torch.inference_mode()
@pytest.mark.parametrize("name", TRUNKS)
def test_turned_keys_are_keys_of_the_other_position(name: str) -> None:
    trunk, at = TRUNKS[name], torch.arange(N)
    mask, by = wide(masks.causal(N), at), at * 2 - 5
    moved, straight = filled(trunk), filled(trunk)
    trunk.step(X, at, axes(trunk, at), mask, moved)
    target = axes(trunk, at) + (torch.stack((by, by, -by)) if trunk.config.mrope else by)
    trunk.step(X, at, target, mask, straight)
    moved.turn(at, target - axes(trunk, at))
    # The first layer alone: deeper keys depend on positions through attention too.
    assert_same(moved.keys[0], straight.keys[0])


@torch.inference_mode()
def test_copied_rows_serve_as_the_originals() -> None:
    trunk, at = TRUNKS["llama"], torch.arange(N)
    kv = filled(trunk)
    whole = trunk.step(X, at, at, wide(masks.causal(N), at), kv)
    moved = torch.cat((torch.arange(N, N + 4), at[4:]))
    kv.copy(at[:4], moved[:4])
    mask = wide(masks.causal(N), moved)
    again = trunk.step(X[:, 4:], at[4:], at[4:], mask[4:], kv)
    assert_same(again, whole[:, 4:])


@torch.inference_mode()
def test_batches_with_masks_of_their_own() -> None:
    trunk, at = TRUNKS["llama"], torch.arange(N)
    ids = masks.block_ids([(7, False), (5, True)])
    seen = torch.stack((masks.causal(N), masks.block_seen(ids, ids)))
    both = trunk(torch.cat((X, OTHER)), torch.stack((at, at + 3)), seen)
    assert_same(both[:1], trunk(X, at, seen[0]))
    assert_same(both[1:], trunk(OTHER, at + 3, seen[1]))


def test_training_reaches_every_weight() -> None:
    trunk = build(qk_norm=True, qkv_bias=True).requires_grad_(True)
    hidden = trunk(trunk.embed(torch.arange(N))[None], torch.arange(N), masks.causal(N))
    trunk.logits(hidden).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in trunk.parameters())


def test_a_step_keeps_no_graph() -> None:
    trunk = build().requires_grad_(True)
    kv = trunk.store(N)
    hidden = trunk.step(X, torch.arange(N), torch.arange(N), masks.causal(N), kv)
    assert not hidden.requires_grad
    assert not kv.keys.requires_grad


def test_shapes_that_do_not_fit_are_told() -> None:
    trunk, at = TRUNKS["llama"], torch.arange(N)
    with pytest.raises(ValueError, match=r"seen \[12, 17\].*\[12, 12\]"):
        trunk.step(X, at, at, masks.causal(N), trunk.store(ROWS))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"kv_heads": 3}, "cannot share"), ({"head_dim": 7}, "odd"), ({"mrope": (1, 2)}, "mrope")],
)
def test_configurations_that_cannot_be_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(**wrong)


@torch.inference_mode()
@pytest.mark.parametrize("name", TRUNKS)
def test_multiply_adds_are_those_that_torch_counts(name: str) -> None:
    trunk, some = TRUNKS[name], torch.arange(5)
    kv = trunk.store(ROWS)
    mask = torch.ones(5, ROWS, dtype=torch.bool)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        trunk.step(X[:, :5], some, axes(trunk, some), mask, kv)
    assert 3 * trunk.config.layer_macs(5, ROWS) == counter.get_total_flops() // 2


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=6))
def test_blocks_are_what_they_are_called(blocks: list[tuple[int, bool]]) -> None:
    ids = masks.block_ids(blocks)
    seen = masks.block_seen(ids, ids)
    number = torch.repeat_interleave(
        torch.arange(len(blocks)), torch.tensor([rows for rows, _ in blocks])
    )
    for q in range(len(ids)):
        for k in range(len(ids)):
            inside = number[q] == number[k] and not blocks[number[q]][1]
            assert seen[q, k] == (k <= q or inside)
    place = torch.arange(len(number))
    assert masks.block_seen(number, number, (place, place)).equal(masks.causal(len(number)))


def test_frames_do_not_see_each_other() -> None:
    frames = torch.tensor([-1, 0, 0, 1, -1])
    apart = [(1, 3), (2, 3), (3, 1), (3, 2)]
    hidden = (~masks.isolated(frames, frames)).nonzero().tolist()
    assert [tuple(pair) for pair in hidden] == apart
