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

import torch
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.kv import KvStore
from tandem.policies.trunk.probe import Probe
from tandem.policies.trunk.trunk import Trunk
from torch import Tensor, nn

BUCKETS = (16, 32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768)
_ALIGN = 16  # rows; fused attention copies a mask whose rows do not begin at 16 bytes
_WARM_UPS = 3  # torch's own number: libraries choose their kernels in the first calls


class PaddedStore(KvStore):
    """A store with spare rows behind it, which only recorded steps know of."""

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

    Stores must come from its `store`. One thread's. `with torch.cuda.stream(…)` around a call
    decides where it runs, as for any other work. Recorded work keeps the priority of the stream it
    was recorded on, here the lowest: an S1 recorded on a stream of priority −1 goes first.
    """

    def __init__(self, trunk: Trunk, buckets: Sequence[int] = BUCKETS) -> None:
        nn.Module.__init__(self)  # a Trunk's own would make weights anew
        self.config = trunk.config
        self.embedding, self.blocks = trunk.embedding, trunk.blocks
        self.norm, self.head = trunk.norm, trunk.head
        self.buckets = tuple(sorted(buckets))

    def store(self, rows: int) -> "PaddedStore":
        weight = self.norm.weight
        return PaddedStore(self.config, rows, weight.dtype, weight.device)

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
        """As `Trunk.step`. What drops rows, asks for attention or exceeds the buckets runs eagerly.

        The first step of each bucket on a store records it, which takes as long as some ten steps.
        """
        bucket = next((size for size in self.buckets if size >= len(rows)), None)
        if bucket is None or drop is not None or probe is not None:
            return super().step(x, rows, positions, seen, kv, drop, probe)
        if bucket not in kv.recorded:
            kv.recorded[bucket] = _Recorded(super().step, kv, bucket)
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
        self._graph: torch.cuda.CUDAGraph | None = None
        if kv.keys.is_cuda:
            self._record()

    @torch.no_grad()
    def __call__(self, x: Tensor, rows: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
        self._inputs.put(x, rows, positions, seen, self._kv.rows)
        if self._graph is None:
            self._out = self._run()
        else:
            self._graph.replay()
        return self._out[:, : len(rows)].clone()

    def _run(self) -> Tensor:
        inputs = self._inputs
        return self._step(inputs.x, inputs.rows, inputs.positions, inputs.seen, self._kv.whole)

    @torch.inference_mode(False)
    def _record(self) -> None:
        """All rows are sent to the spare one meanwhile: what the store holds is not touched."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._run()
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._out = self._run()


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
