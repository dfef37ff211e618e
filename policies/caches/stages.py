"""Wall clock by stage, with the device synchronised before every look at it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from tandem.runtime.clock import NS_PER_S

STAGES = ("gate", "vision", "projector", "trunk", "readout")


class Stages:
    """Adds up the time of each stage of a step; `take` hands it over and begins anew."""

    def __init__(
        self, device: torch.device, now_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._cuda = device.type == "cuda"
        self._device = device
        self._now_ns = now_ns
        self._spent_ns = dict.fromkeys(STAGES, 0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begin_ns = self._stamp()
        yield
        self._spent_ns[stage] += self._stamp() - begin_ns

    def take(self) -> dict[str, float]:
        """Seconds by stage since the last call."""
        spent, self._spent_ns = self._spent_ns, dict.fromkeys(STAGES, 0)
        return {stage: ns / NS_PER_S for stage, ns in spent.items()}

    def _stamp(self) -> int:
        if self._cuda:  # kernels are only queued until then
            torch.cuda.synchronize(self._device)
        return self._now_ns()
