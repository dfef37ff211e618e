"""One block, in the parts a cache needs apart: `split` before attention, `join` after it."""

import torch
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.rope import Rope, rotate
from torch import Tensor, nn
from torch.nn import functional


class RmsNorm(nn.Module):
    """x / rms(x) · weight, or · (1 + weight) where the family trained it so (Gemma)."""

    def __init__(self, width: int, eps: float, offset: bool) -> None:
        super().__init__()
        self.eps, self.offset = eps, offset
        self.weight = nn.Parameter(torch.zeros(width) if offset else torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        if not self.offset:
            return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)
        # 1 + weight does not fit into bfloat16: the small bits of the weight would be lost.
        weight = 1 + self.weight.float()
        return functional.rms_norm(x.float(), weight.shape, weight, self.eps).to(x.dtype)


class Block(nn.Module):
    """Pre-norm attention and gated MLP; the projections that share an input are one matrix."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        width, heads = config.width, config.heads + config.kv_heads

        def norm(size: int) -> RmsNorm:
            return RmsNorm(size, config.eps, config.norm_offset)

        self.config = config
        self.norm_attention = norm(width)
        self.qkv = nn.Linear(
            width, (heads + config.kv_heads) * config.head_dim, bias=config.qkv_bias
        )
        self.norm_query = norm(config.head_dim) if config.qk_norm else None
        self.norm_key = norm(config.head_dim) if config.qk_norm else None
        self.out = nn.Linear(config.heads * config.head_dim, width, bias=False)
        self.norm_mlp = norm(width)
        self.gate_up = nn.Linear(width, 2 * config.mlp, bias=False)
        self.down = nn.Linear(config.mlp, width, bias=False)

    def split(self, x: Tensor, by: Rope) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, N, width] to query [B, heads, N, d], key and value [B, kv_heads, N, d]."""
        heads, kv_heads = self.config.heads, self.config.kv_heads
        qkv = self.qkv(self.norm_attention(x)).unflatten(-1, (-1, self.config.head_dim))
        turned, value = qkv.transpose(1, 2).split((heads + kv_heads, kv_heads), 1)
        if self.norm_query is not None and self.norm_key is not None:
            query, key = turned.split((heads, kv_heads), 1)
            turned = torch.cat((self.norm_query(query), self.norm_key(key)), 1)
        query, key = rotate(turned, by).split((heads, kv_heads), 1)
        return query, key, value

    def join(self, x: Tensor, attended: Tensor) -> Tensor:
        """x [B, N, width] and what its rows attended to [B, N, heads · d]."""
        x = x + self.out(attended)
        gate, up = self.gate_up(self.norm_mlp(x)).chunk(2, -1)
        if self.config.activation == "silu":
            return x + self.down(functional.silu(gate) * up)
        return x + self.down(functional.gelu(gate, approximate="tanh") * up)


def additive(seen: Tensor, group: int, dtype: torch.dtype) -> Tensor:
    """seen [N, M] or [B, N, M] as `attend` takes it: [1 or B, 1, group · N, M], 0 or −inf.

    Made once per step: a boolean mask would be converted again in every layer.
    """
    hidden = seen.logical_not().view(-1, 1, *seen.shape[-2:])
    bias = torch.zeros(hidden.shape, dtype=dtype, device=seen.device)
    return bias.masked_fill_(hidden, float("-inf")).repeat(1, 1, group, 1)


def attend(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Query [B, heads, N, d], keys and values [B, kv_heads, M, d] to [B, N, heads · d].

    The heads that share a key stand below each other as rows of one head: no key is copied, and
    fused kernels that know nothing of groups can be used.
    """
    batch, _, n, d = query.shape
    folded = query.reshape(batch, keys.shape[1], -1, d)
    out = functional.scaled_dot_product_attention(folded, keys, values, attn_mask=bias)
    return out.reshape(batch, -1, n, d).transpose(1, 2).flatten(2)
