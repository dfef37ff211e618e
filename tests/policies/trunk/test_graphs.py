"""A recorded step is padded to its bucket; the padding must not be felt. (Replay needs a GPU.)"""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.trunk import masks
from tandem.policies.trunk.graphs import GraphedTrunk
from tandem.policies.trunk.measure import Machine
from tandem.policies.trunk.probe import Probe
from tandem.policies.trunk.selfcheck import check

from tests.policies.trunk.test_trunk import OTHER, TRUNKS, N, X, axes
from tests.policies.trunk.zoo import assert_same

ROWS = 13
AT = torch.arange(N)


def mask(at: torch.Tensor) -> torch.Tensor:
    seen = torch.zeros(len(at), ROWS, dtype=torch.bool)
    seen[:, :N] = masks.causal(N)[at]
    return seen


@given(
    st.sampled_from(list(TRUNKS)), st.lists(st.sets(st.integers(0, N - 1), min_size=1), min_size=1)
)
@settings(max_examples=20, deadline=None)
@torch.inference_mode()
def test_padded_steps_leave_store_and_hidden_as_bare_ones_do(name: str, steps: list[set]) -> None:
    """Several steps of different sizes in one bucket: what one leaves behind must not leak."""
    trunk = TRUNKS[name]
    graphed = GraphedTrunk(trunk, buckets=(4, 8, N))
    padded, bare = graphed.store(ROWS), trunk.store(ROWS)
    for model, kv in ((graphed, padded), (trunk, bare)):
        model.step(OTHER, AT, axes(trunk, AT), mask(AT), kv)
    for some in steps:
        at = torch.tensor(sorted(some))
        x, places = X[:, at], axes(trunk, at)
        assert_same(
            graphed.step(x, at, places, mask(at), padded),
            trunk.step(x, at, places, mask(at), bare),
        )
        assert_same(padded.keys, bare.keys)
        assert_same(padded.values, bare.values)
    assert list(padded.recorded) == [4, 8, N]


@torch.inference_mode()
def test_what_cannot_be_recorded_runs_eagerly() -> None:
    trunk = TRUNKS["llama"]
    graphed = GraphedTrunk(trunk, buckets=(4,))
    kv, bare, probe = graphed.store(ROWS), trunk.store(ROWS), Probe((1,), torch.tensor([0]))
    drop = {1: torch.tensor([0, 2])}
    for at, more in ((AT, {}), (AT[:3], {"drop": drop}), (AT[:3], {"probe": probe})):
        ours = graphed.step(X[:, at], at, at, mask(at), kv, **more)
        assert_same(ours, trunk.step(X[:, at], at, at, mask(at), bare, **more))
    assert 1 in probe.weights


@pytest.mark.parametrize(("rows", "sizes"), [(3, [4]), (4, [4]), (5, [4, 8]), (99, [4, 8, 16])])
def test_a_store_comes_with_every_size_that_it_can_need(rows: int, sizes: list[int]) -> None:
    graphed = GraphedTrunk(TRUNKS["llama"], buckets=(16, 4, 8))
    kv = graphed.store(rows)
    assert list(kv.recorded) == sizes
    assert not kv.whole.keys.any()


def test_steps_in_and_out_of_inference_mode_share_a_store() -> None:
    """What is made in inference mode must not refuse to be written outside of it."""
    trunk = TRUNKS["llama"]
    for model in (trunk, GraphedTrunk(trunk, buckets=(N,))):
        with torch.inference_mode():
            kv = model.store(ROWS)
            first = model.step(X, AT, AT, mask(AT), kv)
        assert model.step(X, AT, AT, mask(AT), kv).equal(first)
        kv.copy(AT[:2], AT[2:4])
        kv.turn(AT[:2], AT[2:4])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="replaying needs a GPU")
@torch.inference_mode()
def test_a_replayed_step_is_the_eager_one() -> None:
    trunk = copy.deepcopy(TRUNKS["llama"]).cuda()
    graphed = GraphedTrunk(trunk, buckets=(8, 16))
    kv, bare = graphed.store(ROWS), trunk.store(ROWS)
    for source in (OTHER, X, OTHER):
        for at in (AT, AT[5:], AT[3:6]):
            inputs = [t.cuda() for t in (source[:, at], at, at, mask(at))]
            ours, theirs = graphed.step(*inputs, kv), trunk.step(*inputs, bare)
            assert_same(ours, theirs, 1e-4)
    assert_same(kv.keys, bare.keys, 1e-4)


@torch.inference_mode()
def test_the_self_check_runs_anywhere() -> None:
    """Its figures mean something on a GPU; here only that each of them is there."""
    torch.manual_seed(0)
    result = check("tiny", Machine(torch.device("cpu"), torch.float32), 2, transformers=True)
    assert result["error_recorded_against_eager"] < 1e-5
    assert {"to_trunk_eager_transformers", "to_floor_reading_weights_once"} <= set(result["ratios"])
