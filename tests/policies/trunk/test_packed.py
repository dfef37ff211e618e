"""Packed weights compute the same, and nothing but linear layers changes."""

import copy

import pytest
import torch
from tandem.policies.trunk import masks
from tandem.policies.trunk.packed import GeluLinear, PackedLinear, pack
from torch import nn

from tests.policies.trunk.test_trunk import OTHER, TRUNKS, N, X, axes
from tests.policies.trunk.test_vision import BEFORE, VIT
from tests.policies.trunk.zoo import assert_same

AT = torch.arange(N)


@pytest.mark.parametrize("name", TRUNKS)
@torch.inference_mode()
def test_a_packed_trunk_is_the_trunk(name: str) -> None:
    trunk = TRUNKS[name]
    packed = pack(copy.deepcopy(trunk))
    assert not any(type(module) is nn.Linear for module in packed.modules())
    kv, bare = packed.store(N), trunk.store(N)
    for x, at in ((OTHER, AT), (X, AT[7:]), (X, AT[3:4])):
        mask = masks.causal(N)[at]
        ours = packed.step(x[:, at], at, axes(trunk, at), mask, kv)
        theirs = trunk.step(x[:, at], at, axes(trunk, at), mask, bare)
        assert_same(ours, theirs)
        assert_same(packed.logits(ours), trunk.logits(theirs))


@torch.inference_mode()
def test_a_packed_tower_is_the_tower() -> None:
    assert_same(pack(copy.deepcopy(VIT))(BEFORE), VIT(BEFORE))


@pytest.mark.parametrize(
    "linear", [nn.Linear(48, 30), GeluLinear(48, 30, "none"), GeluLinear(48, 30, "tanh")]
)
@torch.inference_mode()
def test_in_bfloat16_too(linear: nn.Linear) -> None:
    x = torch.randn(3, 5, 48)
    assert_same(PackedLinear(linear)(x), linear(x))
    linear, x = copy.deepcopy(linear).bfloat16(), x.bfloat16()
    assert_same(PackedLinear(linear)(x).float(), linear(x).float(), 1e-2)


def test_without_the_operators_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    linear = nn.Sequential(nn.Linear(4, 4))
    assert type(pack(linear)[0]) is nn.Linear
