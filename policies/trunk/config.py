"""What a trunk is made of. Families differ in plain fields, not in classes."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrunkConfig:
    """A decoder of pre-norm blocks: RMSNorm, rotary positions, grouped-query attention, gated MLP.

    Llama is the default of every optional field; Qwen2.5 has `qkv_bias` (and `mrope` in its VL
    form), Qwen3 `qk_norm`, Gemma `norm_offset`, `embed_scale` and `activation="gelu_tanh"`.
    """

    depth: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int  # rows of the gate, of the up and columns of the down projection
    vocab: int
    rope_theta: float = 10_000.0
    eps: float = 1e-6
    activation: Literal["silu", "gelu_tanh"] = "silu"
    qkv_bias: bool = False
    qk_norm: bool = False  # RMSNorm of each head's query and key, before the rotation
    norm_offset: bool = False  # norms scale by 1 + weight
    embed_scale: float = 1.0  # of embedded tokens only, never of features given from outside
    mrope: tuple[int, ...] = ()  # frequencies per axis (time, height, width); () is plain RoPE
    tied: bool = False  # logits by the embedding's own weights

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads")
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotation works on pairs")
        if self.mrope and (len(self.mrope) != 3 or 2 * sum(self.mrope) != self.head_dim):
            raise ValueError(f"mrope {self.mrope} must be three parts of {self.head_dim // 2}")

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.heads // self.kv_heads

    @property
    def layer_weights(self) -> int:
        """Weights of one block's matrices."""
        return self.width * self.head_dim * 2 * (self.heads + self.kv_heads) + (
            3 * self.width * self.mlp
        )

    def layer_macs(self, rows: int, keys: int) -> int:
        """Multiply-adds of one block for `rows` rows that attend to `keys` rows.

        The whole rectangle is counted, as a fused kernel with a mask computes it.
        """
        return rows * self.layer_weights + 2 * rows * keys * self.heads * self.head_dim
