"""A scripted System 1 and System 2 that keep every joint moving fast, for faults to hit.

The arm sweeps around where it stands, its fastest joint hardly ever slower than 0.2 rad/s, inside
all limits. The instruction says what the gripper does and may order bad behaviour at a time:
`sweep`, `sweep closed`, `sweep, nan after 1.5`, `sweep closed, freeze after 2`.
"""

import re
import time
from dataclasses import dataclass, replace

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import RefusedError
from tandem.runtime.interfaces import ActionSpec, Array, Observation, S1Spec, S2Spec
from tandem.runtime.messages import Conditioning, RobotState

PANDA_JOINTS = tuple(f"panda_joint{number}" for number in range(1, 8))
AMPLITUDE_RAD = np.array([0.50, 0.14, 0.15, 0.16, 0.22, 0.30, 0.36])
RATE_RAD_S = np.array([0.90, 1.50, 1.90, 1.20, 2.30, 0.80, 1.60])
RAMP_S = 1.0
HORIZON = 16
DT_NS = 50 * NS_PER_MS
LATENT_ID = "sweep"
LEAP_RAD = 2.0
_BAD = ("nan", "leap", "beyond", "freeze")
_ORDER = re.compile(r"sweep(?P<closed> closed)?(?:, (?P<bad>\w+) after (?P<after>[\d.]+))?")


@dataclass(frozen=True)
class Order:
    """What the instruction asks for: from `after_s` of motion on, behave like `bad`."""

    bad: str | None = None
    after_s: float = 0.0
    opening: float = 1.0  # of the gripper


def parse(instruction: str) -> Order:
    """Raises RefusedError for anything but a sweep."""
    found = _ORDER.fullmatch(instruction.strip())
    if found is None or found["bad"] not in (None, *_BAD):
        known = ", ".join(_BAD)
        raise RefusedError(f"say 'sweep' or 'sweep, BAD after SECONDS' with BAD one of {known}")
    return Order(found["bad"], float(found["after"] or 0.0), 0.0 if found["closed"] else 1.0)


def offsets(t_s: Array) -> Array:
    """Offset from the middle [N, 7] rad at times [N] s of motion; still, and at rest, at 0."""
    # 3x² − 2x³ starts and ends flat, so the sweep begins at rest.
    x = np.clip(t_s / RAMP_S, 0.0, 1.0)[:, None]
    ramp = x * x * (3 - 2 * x)
    return ramp * AMPLITUDE_RAD * np.sin(t_s[:, None] * RATE_RAD_S)


class SweepS1:
    """Plans in closed form, so its chunks are as smooth as motion gets."""

    def __init__(self, joint_names: tuple[str, ...] = PANDA_JOINTS) -> None:
        names = (*joint_names, "gripper")
        self.spec = S1Spec(ActionSpec(names), HORIZON, DT_NS, LATENT_ID, max_age_ms=1000.0)
        self._order = Order()
        self._middle: Array | None = None
        self._begin_ns = 0

    def reset(self, instruction: str) -> None:
        self._order = parse(instruction)
        self._middle = None

    def step(self, obs: Observation, conditioning: Conditioning | None, committed: Array) -> Array:
        assert obs.state is not None
        if self._middle is None or obs.state.mode != "policy":
            self._rest(obs.state)
        t_s = (obs.state.t_ns - self._begin_ns) / NS_PER_S
        times = t_s + np.arange(1, HORIZON + 1) * (DT_NS / NS_PER_S)
        q = self._middle + offsets(times)
        return self._spoilt(np.column_stack([q, np.full(HORIZON, self._order.opening)]), times)

    def _rest(self, state: RobotState) -> None:
        """Not moving for this instruction yet: the sweep will start from here and now."""
        self._middle = state.q_cmd.copy()
        self._begin_ns = state.t_ns

    def _spoilt(self, actions: Array, times: Array) -> Array:
        bad, late = self._order.bad, times >= self._order.after_s
        if bad is None or not late.any():
            return actions
        if bad == "freeze":
            time.sleep(3.0)
        joints = actions[:, :-1]
        if bad == "nan":
            joints[late, 2] = np.nan
        elif bad == "leap":
            joints[late, 0] += LEAP_RAD
        elif bad == "beyond":
            joints[late, 3] = 1.0  # the Panda's elbow ends at −0.07 rad
        return actions


class LoneSweepS1(SweepS1):
    """The same without a System 2: a monolithic policy."""

    def __init__(self, joint_names: tuple[str, ...] = PANDA_JOINTS) -> None:
        super().__init__(joint_names)
        self.spec = replace(self.spec, latent_id=None)


class SweepS2:
    """Says nothing, punctually: its absence is what the executor must notice."""

    def __init__(self, cameras: tuple[str, ...] = ("front",)) -> None:
        self.spec = S2Spec(LATENT_ID, (1, 1), cameras)

    def reset(self, instruction: str) -> None:
        parse(instruction)

    def step(self, obs: Observation) -> Conditioning:
        frame = obs.images[self.spec.cameras[0]]
        return Conditioning(
            valid=True,
            latent=np.zeros((1, 1), np.float16),
            latent_id=LATENT_ID,
            instruction_id=0,
            t_capture_ns=frame.t_capture_ns,
            frame_seq=frame.seq,
            version=[1],
            age_frames=[0],
            gate=[0.0],
            refreshed=[False],
        )
