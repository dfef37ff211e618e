"""A process that keeps one core busy the way System 2 does: `python -m … CPU`.

Transformer blocks over 384 tokens with a cold key-value cache and a normalised image per round:
matrix products, soft-max, and more memory traffic than a cache holds. It never sleeps.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tandem.tools.bench import children, machine

TOKENS, WIDTH, HEADS, LAYERS = 384, 384, 6, 4
NICE = 10
_IMAGE = (3, 448, 448)
_START_S = 60.0


@contextlib.contextmanager
def everywhere() -> Iterator[None]:
    """Every core is kept busy for the block."""
    with contextlib.ExitStack() as stack:
        for cpu in range(machine.cores()):
            stack.enter_context(children.child(children.module("load", cpu), ready_s=_START_S))
        yield


def main(cpu: str) -> None:
    os.nice(NICE)
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
