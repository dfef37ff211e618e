"""`FlowPolicy`: a flow head behind ONNX Runtime, continuing the running chunk."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tandem.policies.s1.onnx import Device, Session
from tandem.policies.s1.policy import ChunkPolicy, named_inputs
from tandem.policies.s1.rtc import Guided, Leftover, Mode, Sampler, Schedule
from tandem.runtime.interfaces import Observation
from tandem.runtime.messages import Conditioning

Array = np.ndarray


class OnnxDenoiser:
    """The shipped graph with its conditioning given; see `flow.GuidedFlow`."""

    def __init__(self, session: Session, inputs: dict[str, Array]) -> None:
        self._session, self._inputs = session, inputs

    def velocity(self, x: Array, tau: float, frozen: Array) -> Array:
        return self._run(x, tau, frozen, np.zeros_like(x), np.zeros(len(x))).velocity

    def guided(self, x: Array, tau: float, target: Array, weights: Array) -> Guided:
        return self._run(x, tau, np.zeros(len(x)), target, weights)

    def _run(self, x: Array, tau: float, frozen: Array, target: Array, weights: Array) -> Guided:
        given = {"x": x, "tau": [tau], "frozen": frozen, "target": target, "weights": weights}
        arrays = {name: np.asarray(v, np.float32)[None] for name, v in given.items()}
        out = self._session.run(**arrays, **self._inputs)
        return Guided(*(out[name][0].astype(float) for name in ("velocity", "residual", "pulled")))


@dataclass(frozen=True)
class _Last:
    """The chunk that was given last: its grid and its actions."""

    t0_ns: int
    actions: Array  # [H, D]


class FlowPolicy(ChunkPolicy):
    """Chunks drawn from a flow. The noise is seeded anew at every `reset`, so runs can be repeated.

    As many steps as `committed` has are frozen; what the last chunk meant to do after them is held
    on to more and more softly. With `temperature` 0 the flow starts from the mean of the noise and
    gives its most typical chunk.
    """

    kinds = ("chunk_flow",)

    def __init__(
        self,
        weights: str | Path,
        device: Device = "cpu",
        mode: Mode = "jacobian",
        steps: int = 5,
        schedule: Schedule = "exp",
        guidance: float = 5.0,
        overlap: int = 12,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        """`overlap`: steps of a new chunk that the last one may still pull at."""
        super().__init__(weights, device)
        self.sampler = Sampler(steps, mode, schedule, guidance)
        self._spread = np.array(self.about.spread, float)
        self._overlap, self._temperature, self._seed = overlap, temperature, seed
        self._rng = np.random.default_rng(seed)
        self._last: _Last | None = None

    def reset(self, instruction: str) -> None:
        super().reset(instruction)
        self._rng = np.random.default_rng(self._seed)
        self._last = None

    def step(self, obs: Observation, conditioning: Conditioning | None, committed: Array) -> Array:
        """Actions [H, D] whose first ones are `committed` [d, D], as far as the model can."""
        state, remembered = self._inputs(obs, conditioning)
        denoiser = OnnxDenoiser(self.session, named_inputs(state, remembered))
        left = None
        if len(committed):
            goes_on = self._going_on(state.t_ns, committed)
            left = Leftover(self._encoded(goes_on, state.q_cmd), len(committed))
        shape = (self.spec.horizon, len(self.spec.action.names))
        noise = self._temperature * self._rng.standard_normal(shape)
        actions = self._decoded(self.sampler.sample(denoiser, noise, left), state.q_cmd)
        self._last = _Last(state.t_ns, actions)
        return actions

    def _going_on(self, t_ns: int, committed: Array) -> Array:
        """[L, D] `committed`, then what the last chunk wanted after it, on the grid from `t_ns`."""
        if self._last is None:
            return committed
        dt_ns, old = self.spec.dt_ns, self._last.actions
        t_old_ns = self._last.t0_ns + dt_ns * (1 + np.arange(len(old))) - t_ns
        t_new_ns = dt_ns * (1 + np.arange(self._overlap))
        t_new_ns = t_new_ns[t_new_ns <= t_old_ns[-1]][len(committed) :]
        tail = [np.interp(t_new_ns, t_old_ns, column) for column in old.T]
        return np.concatenate([committed, np.stack(tail, axis=1)])

    def _encoded(self, actions: Array, q_cmd: Array) -> Array:
        """Absolute actions in network units, relative to the state that is planned from now."""
        count = len(actions)
        offsets = (actions[:, :-1] - q_cmd) / padded_rows(self._spread, count)
        return np.concatenate([offsets, 2.0 * actions[:, -1:] - 1.0], axis=1)

    def _decoded(self, units: Array, q_cmd: Array) -> Array:
        joints = units[:, :-1] * self._spread + q_cmd
        gripper = np.clip(0.5 * (units[:, -1:] + 1.0), 0.0, 1.0)
        return np.concatenate([joints, gripper], axis=1)


def padded_rows(rows: Array, count: int) -> Array:
    """The first `count` rows; the last one again where there are not enough."""
    return rows[np.minimum(np.arange(count), len(rows) - 1)]
