"""Weights laid out once for the CPU's matrix units, instead of anew in every call.

With few rows, most of a matrix product on a CPU is laying out the weights: a step of 36 rows in
bfloat16 is then 3 to 10 times slower than it need be on a processor with AMX. oneDNN can keep the
layout; torch reaches it by two operators that its own compiler uses and that carry an underscore.
Where they are missing, nothing is packed and everything still works.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

_ROWS = 64  # what the layout is chosen for; it serves other numbers too
_Module = TypeVar("_Module", bound=nn.Module)


class PackedLinear(nn.Module):
    """A frozen `nn.Linear`. Neither trained nor saved: pack after loading."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")


def pack(module: _Module) -> _Module:
    """Replaces every linear layer in place, on a CPU, for inference; returns the module.

    Weights are held once, in the new layout only. Anywhere else than on a CPU with oneDNN, or where
    torch lacks the operators, the module stays as it is.
    """
    with torch.inference_mode(False), torch.no_grad():
        for parent in list(module.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear and _packable(child):
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
