"""Real-time chunking: a flow policy that continues the chunk which is being executed.

Black et al., "Real-Time Execution of Action Chunking Flow Policies" (2025): while the new chunk
is denoised, its beginning is pulled to what will have been executed by then, softly on the
overlap beyond. Here time runs from noise (τ = 0) to data (τ = 1); a model that runs the other way
is turned around by `TorchDenoiser`, so that the sign of the guidance cannot be got wrong at the
place where it is used.

Three ways to be guided, named for what they do:

- jacobian: the residual pulled back through the denoiser, a true vector-Jacobian product;
- identity: the residual itself, as if that Jacobian were one; cheaper, and not the paper's;
- prefix: no guidance; the frozen steps are given to a model that was trained with given prefixes
  ("Training-Time Action Conditioning for Efficient Real-Time Chunking", 2025).
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Array = np.ndarray
Mode = Literal["jacobian", "identity", "prefix"]
Schedule = Literal["exp", "linear", "ones", "frozen"]


@dataclass(frozen=True)
class Guided:
    """What a denoiser says at one point: velocity and guidance directions, all [H, D]."""

    velocity: Array
    residual: Array  # weights · (target − where the velocity leads)
    pulled: Array  # the residual through the transposed Jacobian of (x → where it leads)


class Denoiser(Protocol):
    """A flow model with its conditioning already given. `tau` from 0 (noise) to 1 (data)."""

    def velocity(self, x: Array, tau: float, frozen: Array) -> Array:
        """[H, D]; `frozen` [H] marks steps that are given and clean."""
        ...

    def guided(self, x: Array, tau: float, target: Array, weights: Array) -> Guided:
        """As `velocity` without frozen steps, with the directions towards `target` [H, D]."""
        ...


@dataclass(frozen=True)
class Leftover:
    """What remains of the running chunk, from the new chunk's first step on, in network units."""

    actions: Array  # [L, D]
    frozen: int  # so many will be executed before the new chunk can matter


def soft_mask(horizon: int, frozen: int, overlap: int, schedule: Schedule = "exp") -> Array:
    """[H] how strongly each step is held: 1 while frozen, fading over the overlap, 0 after it."""
    frozen, overlap = min(frozen, overlap, horizon), min(overlap, horizon)
    i = np.arange(horizon)
    if schedule == "frozen":
        return (i < frozen).astype(float)
    if schedule == "ones":
        return (i < overlap).astype(float)
    ramp = 1.0 - (i - frozen + 1) / (overlap - frozen + 1)
    if schedule == "exp":
        ramp = ramp * np.expm1(ramp) / np.expm1(1.0)
    return np.where(i < frozen, 1.0, np.where(i < overlap, ramp, 0.0))


def padded(actions: Array, horizon: int) -> Array:
    """[H, D] the leftover, then its last action held: zeros would mean "back to where it began"."""
    actions = actions[:horizon]
    tail = np.repeat(actions[-1:], horizon - len(actions), axis=0)
    return np.concatenate([actions, tail])


def gain(tau: float, most: float) -> float:
    """Strength of the guidance, clipped as in the paper: (τ² + (1−τ)²) / (τ (1−τ)), at most
    `most`.
    """
    if tau <= 0.0 or tau >= 1.0:
        return most
    return min(most, (tau**2 + (1.0 - tau) ** 2) / (tau * (1.0 - tau)))


@dataclass(frozen=True)
class Sampler:
    """Euler steps from noise to a chunk. `most`: bound of the guidance's strength."""

    steps: int = 5
    mode: Mode = "jacobian"
    schedule: Schedule = "exp"
    most: float = 5.0

    def sample(self, denoiser: Denoiser, noise: Array, left: Leftover | None) -> Array:
        """[H, D] in network units; without a leftover (the first chunk) nothing guides."""
        if left is None or not len(left.actions):
            return self._free(denoiser, noise)
        if self.mode == "prefix":
            return self._after_prefix(denoiser, noise, left)
        return self._towards(denoiser, noise, left)

    def _free(self, denoiser: Denoiser, noise: Array) -> Array:
        x, nothing = noise, np.zeros(len(noise))
        for k in range(self.steps):
            x = x + denoiser.velocity(x, k / self.steps, nothing) / self.steps
        return x

    def _towards(self, denoiser: Denoiser, noise: Array, left: Leftover) -> Array:
        horizon = len(noise)
        target = padded(left.actions, horizon)
        weights = soft_mask(horizon, left.frozen, len(left.actions), self.schedule)
        x = noise
        for k in range(self.steps):
            tau = k / self.steps
            seen = denoiser.guided(x, tau, target, weights)
            pull = seen.pulled if self.mode == "jacobian" else seen.residual
            x = x + (seen.velocity + gain(tau, self.most) * pull) / self.steps
        return x

    def _after_prefix(self, denoiser: Denoiser, noise: Array, left: Leftover) -> Array:
        count = min(left.frozen, len(left.actions))
        frozen = (np.arange(len(noise)) < count).astype(float)
        given = padded(left.actions, len(noise))
        x = noise
        for k in range(self.steps):
            x = np.where(frozen[:, None] > 0, given, x)
            x = x + denoiser.velocity(x, k / self.steps, frozen) / self.steps
        return np.where(frozen[:, None] > 0, given, x)
