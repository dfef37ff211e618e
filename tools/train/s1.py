"""Training a head of System 1: averaged weights after a fixed number of iterations."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from tandem.policies.s1.chunk import ChunkHead
from tandem.policies.s1.flow import FlowHead, flow_loss
from tandem.policies.s1.network import HeadConfig, ToolPosition
from tandem.tools.train import ik
from tandem.tools.train.corpus import Batch, Demonstrated
from torch import Tensor, nn

Array = np.ndarray
Head = ChunkHead | FlowHead
LONGEST_PREFIX = 6  # steps that a trained prefix may have


@dataclass(frozen=True)
class Budget:
    """How long and how to train. `rolled`: share of each batch from rollouts, where there are
    any.
    """

    iterations: int = 5_000
    batch: int = 512
    rate: float = 1e-3
    decay: float = 1e-3
    latent_noise: float = 0.05
    seed: int = 0


@dataclass
class Report:
    iterations: int = 0
    losses: list[float] = field(default_factory=list)  # mean of each tenth

    @property
    def last(self) -> float:
        return self.losses[-1] if self.losses else math.nan


def new_head(config: HeadConfig, seed: int) -> ChunkHead:
    torch.manual_seed(seed)
    return ChunkHead(config, tool_layer())


def new_flow(config: HeadConfig, seed: int) -> FlowHead:
    torch.manual_seed(seed)
    return FlowHead(config, tool_layer())


def tool_layer() -> ToolPosition:
    arm = ik.load_arm().spec
    tool_m = arm.pose_tool_in_flange[:3, 3]
    return ToolPosition(torch.tensor(arm.mdh), torch.tensor(tool_m))


def fit_units(head: Head, data: Demonstrated) -> None:
    """Take the normalisation from the data; once, before the first training."""
    states, chunks = torch.from_numpy(data.states), torch.from_numpy(data.chunks())
    head.inputs.fit(states)
    head.units.fit(chunks, states[:, : head.config.joints])


def train(head: Head, data: Demonstrated, budget: Budget, advance: Callable[..., None]) -> Report:
    """Train in place; `head` ends with the averaged weights."""
    rng = np.random.default_rng([budget.seed, 31])
    torch.manual_seed(budget.seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=budget.rate, weight_decay=budget.decay)
    average = Average(head)
    report, window = Report(), []
    head.train()
    for i in range(budget.iterations):
        for group in optimizer.param_groups:
            group["lr"] = budget.rate * _schedule(i, budget.iterations)
        batch = data.draw(budget.batch, rng)
        loss = _loss(head, batch, budget.latent_noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        average.update()
        window.append(loss.item())
        if (i + 1) % max(1, budget.iterations // 10) == 0:
            report.losses.append(float(np.mean(window)))
            window.clear()
        advance(1, note=f"loss {loss.item():.4f}" if i % 50 == 0 else None)
    average.store()
    head.eval()
    report.iterations = budget.iterations
    return report


def _loss(head: Head, batch: Batch, latent_noise: float) -> Tensor:
    """In network units, so that early steps weigh as much as late ones: the mean absolute error of
    a regression, or the flow's own loss.
    """
    state, latent, before, times, chunk = (torch.from_numpy(v) for v in vars(batch).values())
    latent = latent + latent_noise * torch.randn_like(latent)
    before = before + latent_noise * torch.randn_like(before)
    wanted = head.units.encode(chunk, state[:, : head.config.joints])
    if isinstance(head, FlowHead):
        seen = head.inputs(state, latent, before, times)
        return flow_loss(head, seen, wanted, LONGEST_PREFIX)
    return (head.in_units(state, latent, before, times, quick=True) - wanted).abs().mean()


def _schedule(i: int, total: int) -> float:
    """Short warm-up, then a cosine to 2 %."""
    return min(1.0, (i + 1) / 100) * (0.49 * (1 + math.cos(math.pi * i / total)) + 0.02)


class Average:
    """Exponential moving average of the weights, which act more steadily than the last ones."""

    def __init__(self, module: nn.Module, decay: float = 0.998) -> None:
        self._module, self._decay, self._count = module, decay, 0
        self._kept = [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        self._count += 1
        decay = min(self._decay, self._count / (self._count + 50))
        for kept, parameter in zip(self._kept, self._module.parameters(), strict=True):
            kept.lerp_(parameter, 1.0 - decay)

    @torch.no_grad()
    def store(self) -> None:
        for kept, parameter in zip(self._kept, self._module.parameters(), strict=True):
            parameter.copy_(kept)
