"""Who may see whom, as bool [queries, keys]. A row must see at least itself.

Blocks say it all: a row sees its own block and all blocks before it. One block per row is causal
attention; one block for a whole prefix is PaliGemma's; blocks in between keep what stands earlier
independent of what stands later, which is what a cache needs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def block_seen(
    blocks_q: Tensor, blocks_k: Tensor, causal_inside: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """[n, m] from the block numbers of queries [n] and keys [m].

    Inside a block rows see each other both ways, or, given the places in the sequence of queries
    and keys as `causal_inside`, only what stands before them.
    """
    q, k = blocks_q[:, None], blocks_k[None, :]
    if causal_inside is None:
        return k <= q
    return (k < q) | ((k == q) & (causal_inside[1][None, :] <= causal_inside[0][:, None]))


def block_ids(blocks: Sequence[tuple[int, bool]]) -> Tensor:
    """Block numbers [N] of a sequence of (rows, causal inside).

    A block that is causal inside is as many blocks of one row: one sequence may mix both kinds,
    such as a bidirectional prefix and a causal answer.
    """
    first_of_block = [causal or i == 0 for rows, causal in blocks for i in range(rows)]
    return torch.tensor(first_of_block).cumsum(0) - 1


def causal(n: int) -> Tensor:
    """[n, n]: each row sees itself and what stands before it."""
    return torch.ones(n, n, dtype=torch.bool).tril()


def isolated(frames_q: Tensor, frames_k: Tensor) -> Tensor:
    """[n, m], to be combined by `&`: rows of different frames do not see each other.

    −1 marks rows that belong to no frame; they see, and are seen by, every frame.
    """
    q, k = frames_q[:, None], frames_k[None, :]
    return (q == k) | (q < 0) | (k < 0)
