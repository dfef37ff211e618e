"""Clocks that tell the truth of a device, and modules with random weights on it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from tandem.policies.trunk.graphs import capture
from torch import nn


@dataclass(frozen=True)
class Machine:
    device: torch.device
    dtype: torch.dtype

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def random(self, module: Callable[[], nn.Module]) -> nn.Module:
        """Made on the device, in its precision: 7 B weights never pass through the host."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with torch.device(self.device):
                return module().eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(before)

    def record(self, run: Callable[[], object], priority: int = 0) -> Callable[[], object]:
        """The same work started by one call, where there is a GPU; see `capture`."""
        return capture(run, priority)[0].replay if self.device.type == "cuda" else run


@dataclass(frozen=True)
class Times:
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, machine: Machine, run: Callable[[], object], repeats: int) -> "Times":
        """Each repeat alone, the device synchronised before every reading of the clock."""
        for _ in range(3):
            run()
        samples = []
        for _ in range(repeats):
            machine.wait()
            start = time.perf_counter()
            run()
            machine.wait()
            samples.append((time.perf_counter() - start) * 1e3)
        return cls.from_samples(samples)

    @classmethod
    def from_samples(cls, samples_ms: list[float]) -> "Times":
        quantiles = torch.tensor(samples_ms).quantile(torch.tensor([0.5, 0.99])).tolist()
        return cls(*(round(value, 4) for value in quantiles))
