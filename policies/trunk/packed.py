"""Weights laid out once for the CPU's matrix units, instead of anew in every call.

With few rows, most of a matrix product on a CPU is laying out the weights: a step of 36 rows in
bfloat16 is then 3 to 10 times slower than it need be on a processor with AMX. oneDNN can keep the
layout; torch reaches it by two operators that its own compiler uses and that carry an underscore.
Where they are missing, nothing is packed and everything still works.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROWS = 64  # what the layout is chosen for; it serves other numbers too
_Module = TypeVar("_Module", bound=nn.Module)


class GeluLinear(nn.Linear):
    """A linear layer and the GELU behind it, which is as good as free once they are packed.

    On its own GELU is a fifth of a tower's time on a CPU.
    """

    def __init__(self, in_features: int, out_features: int, approximate: str) -> None:
        super().__init__(in_features, out_features)
        self.approximate = approximate  # "none" or "tanh", as torch calls it

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(super().forward(x), approximate=self.approximate)


class PackedLinear(nn.Module):
    """A frozen `nn.Linear` or `GeluLinear`. Neither trained nor saved: pack after loading."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        gelu = isinstance(linear, GeluLinear)
        self._behind = ("gelu", [], linear.approximate) if gelu else ("none", [], "")
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, *self._behind)


def pack(module: _Module) -> _Module:
    """Replaces every linear layer in place, on a CPU, for inference; returns the module.

    Weights are held once, in the new layout only. Anywhere else than on a CPU with oneDNN, or where
    torch lacks the operators, the module stays as it is.
    """
    with torch.inference_mode(False), torch.no_grad():
        for parent in list(module.modules()):
            for name, child in list(parent.named_children()):
                if type(child) in (nn.Linear, GeluLinear) and _packable(child):
                    setattr(parent, name, PackedLinear(child))
    return module


def _packable(linear: nn.Linear) -> bool:
    operators = torch.ops.mkldnn
    return (
        linear.weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and hasattr(operators, "_reorder_linear_weight")
        and hasattr(operators, "_linear_pointwise")
    )
