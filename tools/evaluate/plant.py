"""What the arm was truly asked to do, judged from the plant's own record at the plant's own rate.

Velocity, acceleration and jerk are finite differences of the position set-points: a stream that
lies about its derivatives is found out here.
"""

from dataclasses import dataclass, replace

import numpy as np
from tandem.drivers.sim.blackbox import Record
from tandem.drivers.sim.panda import panda_spec
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.config import Config
from tandem.runtime.interfaces import ArmSpec
from tandem.tools.fci_emulator.models import MODELS

Array = np.ndarray


@dataclass(frozen=True)
class Extremes:
    """Largest |finite difference| per joint, and its share of the arm's limit (1 = at the limit).

    `margin_rad` is the smallest distance to a position limit; negative means outside.
    """

    velocity: Array  # [D] rad/s
    acceleration: Array  # [D] rad/s²
    jerk: Array  # [D] rad/s³
    velocity_share: float
    acceleration_share: float
    jerk_share: float
    margin_rad: float
    samples: int

    @property
    def inside(self) -> bool:
        """Rounding in the differences is allowed for: 1e-12 rad at 1 kHz is 1e-3 rad/s³."""
        shares = (self.velocity_share, self.acceleration_share, self.jerk_share)
        return max(shares) <= 1.0 + 1e-6 and self.margin_rad >= 0.0


def plant_spec(config: Config) -> ArmSpec:
    """The limits of the arm that moves, not of the simulated one that shows it: an FR3 may brake
    its second joint harder than a Panda can."""
    spec = panda_spec()
    if not config.emulated:
        return spec
    arm = MODELS[config.robot.arm.driver.removeprefix("franka_")]
    return replace(
        spec,
        q_min=arm.q_min,
        q_max=arm.q_max,
        dq_max=arm.dq_max,
        ddq_max=arm.ddq_max,
        jerk_max=arm.jerk_max,
    )


def differences(t_ns: Array, q_rad: Array) -> tuple[Array, Array, Array]:
    """Velocity [N-1, D], acceleration [N-2, D], jerk [N-3, D] of evenly spaced set-points.

    Raises:
        ValueError: a sample is missing; a gap would look like a jump that the arm never made.
    """
    steps_ns = np.diff(t_ns)
    if steps_ns.size == 0 or not (steps_ns == steps_ns[0]).all() or steps_ns[0] <= 0:
        odd = np.flatnonzero(steps_ns != np.median(steps_ns)) if steps_ns.size else []
        raise ValueError(f"{len(t_ns)} samples, uneven after samples {list(odd[:5])}")
    dt_s = float(steps_ns[0]) / NS_PER_S
    velocity = np.diff(q_rad, axis=0) / dt_s
    acceleration = np.diff(velocity, axis=0) / dt_s
    return velocity, acceleration, np.diff(acceleration, axis=0) / dt_s


def extremes(t_ns: Array, q_rad: Array, spec: ArmSpec) -> Extremes:
    """Extremes of the set-points [N, D] that the plant followed against the arm's own limits."""
    velocity, acceleration, jerk = (_peak(x) for x in differences(t_ns, q_rad))
    margin_rad = np.minimum(q_rad - spec.q_min, spec.q_max - q_rad)
    return Extremes(
        velocity,
        acceleration,
        jerk,
        float((velocity / spec.dq_max).max()),
        float((acceleration / spec.ddq_max).max()),
        float((jerk / spec.jerk_max).max()),
        float(margin_rad.min()),
        len(t_ns),
    )


def recorded(record: Record, spec: ArmSpec) -> Extremes:
    """Extremes of a black box's rows. Nothing is differenced across an era: the arm was put there.

    Raises:
        ValueError: rows are missing while the set-point moved, or there are too few.
    """
    breaks = np.flatnonzero((np.diff(record.era) != 0) | _rests(record)) + 1
    pieces = np.split(np.arange(len(record.t_ns)), breaks)
    parts = [extremes(record.t_ns[p], record.q[p], spec) for p in pieces if len(p) > 3]
    if not parts:
        raise ValueError(f"only {len(record.t_ns)} rows of set-points")
    return merged(parts)


def _rests(record: Record) -> Array:
    """[N-1] True where time was skipped although nothing moved, as a sleeping plant does."""
    steps_ns = np.diff(record.t_ns)
    long = steps_ns > np.median(steps_ns) if steps_ns.size else np.zeros(0, bool)
    return long & (np.diff(record.q, axis=0) == 0).all(axis=1)


def merged(parts: list[Extremes]) -> Extremes:
    """The extremes of several records together."""
    return Extremes(
        np.max([p.velocity for p in parts], axis=0),
        np.max([p.acceleration for p in parts], axis=0),
        np.max([p.jerk for p in parts], axis=0),
        max(p.velocity_share for p in parts),
        max(p.acceleration_share for p in parts),
        max(p.jerk_share for p in parts),
        min(p.margin_rad for p in parts),
        sum(p.samples for p in parts),
    )


def _peak(values: Array) -> Array:
    return np.abs(values).max(axis=0, initial=0.0)
