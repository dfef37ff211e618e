"""A process that keeps one core busy the way System 2 does: `python -m … CPU NICE`.

Transformer blocks over 384 tokens with a cold key-value cache and a normalised image per round:
matrix products, soft-max, and more memory traffic than a cache holds. It never sleeps.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

TOKENS, WIDTH, HEADS, LAYERS = 384, 384, 6, 4
NICE = 10
_IMAGE = (3, 448, 448)


def main(cpu: str, nice: str) -> None:
    os.nice(int(nice))
    os.sched_setaffinity(0, {int(cpu)})
    import torch  # after the affinity, so that its pools see one core

    torch.set_num_threads(1)
    with torch.inference_mode():
        step = _blocks(torch)
        step()
        print("ready", flush=True)
        while True:
            step()


def _blocks(torch: Any) -> Callable[[], None]:
    """A function that runs one frame through `LAYERS` blocks."""
    generator = torch.Generator().manual_seed(0)

    def weight(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator) / shape[0] ** 0.5

    layers = [
        (weight(WIDTH, 3 * WIDTH), weight(WIDTH, 4 * WIDTH), weight(4 * WIDTH, WIDTH))
        for _ in range(LAYERS)
    ]
    tokens, image = weight(TOKENS, WIDTH), weight(*_IMAGE)

    def step() -> None:
        x = tokens + (image - image.mean()).abs().mean()
        for qkv, up, down in layers:
            heads = (x @ qkv).view(TOKENS, 3, HEADS, -1).permute(1, 2, 0, 3)
            attended = torch.nn.functional.scaled_dot_product_attention(*heads)
            x = x + attended.transpose(0, 1).reshape(TOKENS, WIDTH)
            x = x + torch.nn.functional.gelu(x @ up) @ down
            x = x / x.norm(dim=-1, keepdim=True)

    return step


if __name__ == "__main__":
    main(*sys.argv[1:])
