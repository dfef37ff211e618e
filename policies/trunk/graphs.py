"""Steps recorded once and replayed: CUDA graphs over a few sizes.

A step of a 7 B trunk starts some five hundred kernels; starting them one by one from Python takes
longer than a H200 needs to read the weights. A recorded step starts with one call. It has a fixed
number of rows, so rows are filled up to the next bucket; filled-up rows see only themselves and
write to one spare row of the store that nobody else sees. (Filling up with rows that are there
already would write some of them twice.)

Without a GPU the same padded step runs unrecorded, which is how this is tested.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.kv import KvStore
from tandem.policies.trunk.probe import Probe
from tandem.policies.trunk.trunk import Trunk
from torch import Tensor, nn

BUCKETS = (16, 32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768)
_ALIGN = 16  # rows; fused attention copies a mask whose rows do not begin at 16 bytes
_WARM_UPS = 3  # torch's own number: libraries choose their kernels in the first calls
_Out = TypeVar("_Out")


def capture(run: Callable[[], _Out], priority: int = 0) -> tuple[torch.cuda.CUDAGraph, _Out]:
    """The work of `run` on the GPU, to be replayed by one call, and what each replay fills anew.

    Recorded work keeps the priority of the stream it was recorded on, wherever it is replayed: −1
    goes before 0.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(priority=priority)
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        out = run()
    return graph, out


class PaddedStore(KvStore):
    """A store with spare rows behind it and steps recorded on it, by size."""

    def __init__(
        self, config: TrunkConfig, rows: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        wide = -(-(rows + 1) // _ALIGN) * _ALIGN
        self.whole = KvStore(config, wide, dtype, device)
        self.config, self.rows = config, rows
        with torch.inference_mode(False):
            self.keys = self.whole.keys[..., :rows, :]
            self.values = self.whole.values[..., :rows, :]
        self.recorded: dict[int, _Recorded] = {}


class GraphedTrunk(Trunk):
    """A trunk whose steps are recorded; the weights are those of the given one, not copies.

    They must stay where they are. Stores must come from its `store`. One thread's.
    `with torch.cuda.stream(…)` around a call decides where it runs, as for any other work. Steps
    have the lowest priority: an S1 recorded with priority −1 goes first.
    """

    def __init__(self, trunk: Trunk, buckets: Sequence[int] = BUCKETS) -> None:
        nn.Module.__init__(self)  # a Trunk's own would make weights anew
        self.config = trunk.config
        self.embedding, self.blocks = trunk.embedding, trunk.blocks
        self.norm, self.head = trunk.norm, trunk.head
        self.buckets = tuple(sorted(buckets))

    def store(self, rows: int) -> PaddedStore:
        """An empty store with steps of every size that it can need, so that none is recorded later.

        A size takes as long as some ten steps.
        """
        weight = self.norm.weight
        kv = PaddedStore(self.config, rows, weight.dtype, weight.device)
        for size in self.buckets:
            kv.recorded[size] = _Recorded(super().step, kv, size)
            if size >= rows:
                break
        return kv

    def step(
        self,
        x: Tensor,
        rows: Tensor,
        positions: Tensor,
        seen: Tensor,
        kv: PaddedStore,
        drop: Mapping[int, Tensor] | None = None,
        probe: Probe | None = None,
    ) -> Tensor:
        """As `Trunk.step`; what drops rows, asks for attention or is too large runs eagerly."""
        bucket = next((size for size in kv.recorded if size >= len(rows)), None)
        if bucket is None or drop is not None or probe is not None:
            return super().step(x, rows, positions, seen, kv, drop, probe)
        return kv.recorded[bucket](x, rows, positions, seen)


@dataclass
class _Inputs:
    """Where a recorded step reads: fixed places in memory."""

    x: Tensor  # [1, bucket, width]
    rows: Tensor  # [bucket]
    positions: Tensor  # [bucket], or [3, bucket] under M-RoPE
    seen: Tensor  # [bucket, rows of the whole store]

    def put(self, x: Tensor, rows: Tensor, positions: Tensor, seen: Tensor, spare: int) -> None:
        """The first n rows are the step's; the others are sent to the spare row.

        What those see besides it does not matter: nobody reads them.
        """
        n = len(rows)
        self.x[:, :n] = x
        self.rows[:n] = rows
        self.rows[n:] = spare
        self.positions[..., :n] = positions
        self.seen[:n, :spare] = seen
        self.seen[:n, spare] = False
        self.seen[n:, spare] = True


class _Recorded:
    """The step of one bucket on one store."""

    def __init__(self, step: Callable[..., Tensor], kv: PaddedStore, bucket: int) -> None:
        self._step, self._kv = step, kv
        # Ordinary tensors even if the first step comes in inference mode and the next does not.
        with torch.inference_mode(False):
            self._inputs = _empty(kv, bucket)
            # All rows are the spare one: what the store holds is not touched by the recording.
            self._replayed = capture(self._run) if kv.keys.is_cuda else None

    @torch.no_grad()
    def __call__(self, x: Tensor, rows: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
        self._inputs.put(x, rows, positions, seen, self._kv.rows)
        if self._replayed is None:
            out = self._run()
        else:
            graph, out = self._replayed
            graph.replay()
        return out[:, : len(rows)].clone()

    def _run(self) -> Tensor:
        inputs = self._inputs
        return self._step(inputs.x, inputs.rows, inputs.positions, inputs.seen, self._kv.whole)


def _empty(kv: PaddedStore, bucket: int) -> _Inputs:
    """Inputs of a step that computes nothing but padding."""
    device, config = kv.keys.device, kv.config
    axes = (3,) if config.mrope else ()
    inputs = _Inputs(
        torch.zeros(1, bucket, config.width, dtype=kv.keys.dtype, device=device),
        torch.full((bucket,), kv.rows, device=device),
        torch.zeros(*axes, bucket, dtype=torch.int64, device=device),
        torch.zeros(bucket, kv.whole.rows, dtype=torch.bool, device=device),
    )
    inputs.seen[:, kv.rows] = True
    return inputs
