"""Flow models behind one protocol: a shipped one in ONNX Runtime, anyone's in torch."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from tandem.policies.s1.rtc import Guided

Array = np.ndarray


class TorchDenoiser:
    """Any differentiable velocity model, guided with autograd.

    `velocity(x, t)` takes [H, D] and a scalar. `time` says which way it was trained: "to_data" for
    x(t) = t·data + (1−t)·noise with velocity data − noise; "to_noise" for the convention of π0,
    x(t) = t·noise + (1−t)·data with velocity noise − data. Both come out as "to_data".
    """

    def __init__(
        self,
        velocity: Callable[[torch.Tensor, float], torch.Tensor],
        time: Literal["to_data", "to_noise"] = "to_data",
    ) -> None:
        self._model, self._time = velocity, time

    def velocity(self, x: Array, tau: float, frozen: Array) -> Array:
        if frozen.any():
            raise ValueError("this model was not trained with given prefixes; use another RTC mode")
        with torch.no_grad():
            return self._to_data(_tensor(x), tau).numpy().astype(float)

    def guided(self, x: Array, tau: float, target: Array, weights: Array) -> Guided:
        start = _tensor(x).requires_grad_()
        velocity = self._to_data(start, tau)
        end = start + (1.0 - tau) * velocity
        residual = _tensor(weights)[:, None] * (_tensor(target) - end.detach())
        (pulled,) = torch.autograd.grad(end, start, residual)
        return Guided(
            velocity.detach().numpy().astype(float),
            residual.numpy().astype(float),
            pulled.numpy().astype(float),
        )

    def _to_data(self, x: torch.Tensor, tau: float) -> torch.Tensor:
        if self._time == "to_data":
            return self._model(x, tau)
        return -self._model(x, 1.0 - tau)


def _tensor(array: Array) -> torch.Tensor:
    return torch.as_tensor(np.asarray(array), dtype=torch.float32)
