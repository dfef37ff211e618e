"""What the executor is given: values, not a configuration."""

from dataclasses import dataclass, field
from typing import Literal

from tandem.runtime.chunks import Join
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.setpoint import MotionSettings


@dataclass(frozen=True)
class ExecutorSettings:
    motion: MotionSettings = field(default_factory=MotionSettings)
    rate_hz: float = 200.0
    tell_every_tick: bool = False  # to a recorder, at rates above that of states
    lead_ticks: int = 2  # a knot is for the end of the next period: a tick may be that late
    lead_min_ns: int = 4 * NS_PER_MS  # however fast the ticks: systems without real time stall
    access: Literal["read_only", "move"] = "move"
    join: Join = "crossfade"
    fade_steps: int = 4
    conditioning_slow_ns: int = 500 * NS_PER_MS
    conditioning_hold_ns: int = 1000 * NS_PER_MS
    engage_ns: int = 10 * NS_PER_S  # how long to wait for the first plan
    operator_ns: int = 100 * NS_PER_MS
    # Two commands are missing: slow down. What is on its way to the arm already takes another one.
    operator_silent_ns: int = 20 * NS_PER_MS
    arm_late_ns: int = 100 * NS_PER_MS
    tick_gap_ns: int = 100 * NS_PER_MS  # longer where the arm is simulated
    supervisor_silent_ns: int = 2 * NS_PER_S
    gripper_width_m: float = 0.08
