"""Keys and values that survive steps: allocated once, written by row."""

import torch
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.rope import rope, rotate
from torch import Tensor


class Rows:
    """Keys and values, [depth, 1, heads, rows, d] each.

    Fresh rows are zero, so that a row nobody may see can never bring in a NaN.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        # Ordinary tensors, even if made in inference mode: steps outside of it may write them too.
        with torch.inference_mode(False):
            self.keys = torch.zeros(shape, dtype=dtype, device=device)
            self.values = torch.zeros(shape, dtype=dtype, device=device)

    def write(self, layer: int, rows: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts [1, heads, n, d] at `rows` [n]; returns all keys and values of the layer."""
        keys, values = self.keys[layer], self.values[layer]
        keys.index_copy_(2, rows, key)
        values.index_copy_(2, rows, value)
        return keys, values


class KvStore(Rows):
    """A trunk's, keys already rotated.

    Which row holds what is the caller's matter: attention takes its order from `seen` and from
    positions.
    """

    def __init__(
        self, config: TrunkConfig, rows: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (config.depth, 1, config.kv_heads, rows, config.head_dim)
        super().__init__(shape, dtype, device)
        self.config, self.rows = config, rows

    def copy(self, rows_from: Tensor, rows_to: Tensor) -> None:
        """Copies rows [n] to other rows [n], in all layers; their keys stay turned as they are."""
        for store in (self.keys, self.values):
            store.index_copy_(3, rows_to, store[:, :, :, rows_from])

    def turn(self, rows: Tensor, by: Tensor) -> None:
        """Moves the keys at `rows` [n] by `by` [n] positions (or [3, n] under M-RoPE).

        Rotations add up: R(p + by) = R(by) R(p). Each call rounds once more.
        """
        turned = rotate(self.keys[:, 0, :, rows], rope(self.config, by, self.keys.dtype))
        self.keys[:, 0, :, rows] = turned
