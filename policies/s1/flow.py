"""The chunk head by flow matching: noise becomes a chunk along a learned velocity field.

Lipman et al., "Flow Matching for Generative Modeling" (2023), with straight paths: x(τ) = τ·chunk
+ (1−τ)·noise, and the field is trained on chunk − noise. A few first steps may be given
(`frozen`), which makes the same head usable for real-time chunking with a trained prefix.
"""

import math

import torch
from tandem.policies.s1.network import HeadConfig, Inputs, ToolPosition, Trunk, Units
from torch import Tensor, nn
from torch.nn import functional

_WAVES = 8


class FlowHead(nn.Module):
    """The same trunk as `ChunkHead`, with the noisy chunk and its time among the inputs."""

    waves: Tensor

    def __init__(self, config: HeadConfig, tool: ToolPosition) -> None:
        super().__init__()
        self.config = config
        self.inputs = Inputs(config, tool)
        self.units = Units(config)
        chunk = config.horizon * config.action
        size = self.inputs.size + chunk + config.horizon + 2 * _WAVES
        self.trunk = Trunk(size, chunk, config.width, config.blocks)
        waves = torch.exp(torch.linspace(0.0, math.log(50.0), _WAVES))
        self.register_buffer("waves", waves)

    def joined(self, x: Tensor, tau: Tensor, frozen: Tensor, seen: Tensor) -> Tensor:
        """x [B, H, D], tau [B, 1], frozen [B, H], inputs [B, I] to what the trunk takes."""
        angle = tau * self.waves
        return torch.cat([x.flatten(1), seen, frozen, torch.sin(angle), torch.cos(angle)], dim=-1)

    def forward(
        self, x: Tensor, tau: Tensor, frozen: Tensor, seen: Tensor, quick: bool = False
    ) -> Tensor:
        """Velocity [B, H, D] in network units; `seen` is what `inputs` made."""
        return self.trunk(self.joined(x, tau, frozen, seen), quick).unflatten(
            -1, (self.config.horizon, self.config.action)
        )


class GuidedFlow(nn.Module):
    """What ships: velocity, residual and its pull-back in one pass, with the derivative written
    out.

    ONNX has no automatic differentiation; for a residual perceptron the vector-Jacobian product
    is a page, and a test compares it with autograd.
    """

    def __init__(self, head: FlowHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self,
        x: Tensor,
        tau: Tensor,
        frozen: Tensor,
        target: Tensor,
        weights: Tensor,
        state: Tensor,
        latent: Tensor,
        before: Tensor,
        times: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[B, H, D], [B, 1], [B, H], [B, H, D], [B, H] and the inputs of `Inputs`."""
        head = self.head
        seen = head.inputs(state, latent, before, times)
        joined = head.joined(x, tau, frozen, seen)
        flat, tape = _forward(head.trunk, joined)
        velocity = flat.view_as(x)
        ahead = (1.0 - tau)[..., None]
        residual = weights[..., None] * (target - (x + ahead * velocity))
        through = _pull_back(head.trunk, tape, residual.flatten(1))[:, : flat.shape[1]]
        return velocity, residual, residual + ahead * through.view_as(x)


def _forward(trunk: Trunk, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The trunk, and the stream entering each block and the last norm."""
    x = trunk.enter(x)
    tape = [x]
    for block in trunk.blocks:
        x = x + block(x)
        tape.append(x)
    return trunk.leave(trunk.norm(x)), tape


def _pull_back(trunk: Trunk, tape: list[Tensor], grad: Tensor) -> Tensor:
    """Transposed Jacobian of the trunk times `grad`."""
    grad = _norm_back(trunk.norm, tape[-1], grad @ trunk.leave.weight)
    for block, x in zip(reversed(trunk.blocks), reversed(tape[:-1]), strict=True):
        norm, first, _, second = block
        hidden = first(norm(x))
        gate = torch.sigmoid(hidden)
        inner = (grad @ second.weight) * gate * (1.0 + hidden * (1.0 - gate))  # SiLU's slope
        grad = grad + _norm_back(norm, x, inner @ first.weight)
    return grad @ trunk.enter.weight


def _norm_back(norm: nn.LayerNorm, x: Tensor, grad: Tensor) -> Tensor:
    """Transposed Jacobian of a layer norm at x times `grad`."""
    centred = x - x.mean(-1, keepdim=True)
    inverse = torch.rsqrt(centred.square().mean(-1, keepdim=True) + norm.eps)
    unit, grad = centred * inverse, grad * norm.weight
    along = (grad * unit).mean(-1, keepdim=True)
    return inverse * (grad - grad.mean(-1, keepdim=True) - unit * along)


def flow_loss(head: FlowHead, seen: Tensor, chunk: Tensor, longest_prefix: int) -> Tensor:
    """Flow matching with a random given prefix; chunk [B, H, D] in network units."""
    batch, horizon = chunk.shape[:2]
    noise = torch.randn_like(chunk)
    tau = torch.rand(batch, 1, device=chunk.device)
    given = torch.randint(0, longest_prefix + 1, (batch, 1), device=chunk.device)
    given = given * (torch.rand(batch, 1, device=chunk.device) < 0.5)
    frozen = (torch.arange(horizon, device=chunk.device) < given).float()
    mixed = tau[..., None] * chunk + (1.0 - tau[..., None]) * noise
    x = torch.where(frozen[..., None] > 0, chunk, mixed)
    wanted, free = chunk - noise, (1.0 - frozen)[..., None]
    error = functional.mse_loss(
        head(x, tau, frozen, seen, quick=True) * free, wanted * free, reduction="none"
    )
    return error.sum() / free.expand_as(error).sum()
