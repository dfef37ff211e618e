"""From the configuration to the values that the executor is given."""

from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.config import Config
from tandem.runtime.interfaces import ArmSpec
from tandem.runtime.setpoint import MotionSettings
from tandem.runtime.settings import ExecutorSettings

# A machine that simulates, draws and thinks may stall; its arm takes no harm from it.
_SIM_ARM_LATE_NS, _ARM_LATE_NS = 500 * NS_PER_MS, 100 * NS_PER_MS
_SIM_TICK_GAP_NS, _TICK_GAP_NS = 400 * NS_PER_MS, 100 * NS_PER_MS


def executor_settings(config: Config, spec: ArmSpec) -> ExecutorSettings:
    ladder, arm = config.ladder_ms, config.robot.arm
    simulated = arm.driver == "sim"
    return ExecutorSettings(
        motion=_motion_settings(config),
        rate_hz=config.executor.rate_hz,
        tell_every_tick=config.record.every_tick,
        access=arm.access,
        join=config.s1.join if config.s1 else "replace",
        fade_steps=config.s1.replan_every if config.s1 else 4,
        conditioning_slow_ns=_ns(ladder.conditioning_slow),
        conditioning_hold_ns=_ns(ladder.conditioning_hold),
        operator_ns=_ns(ladder.operator),
        gripper_width_m=spec.width_max_m,
        operator_silent_ns=round(2 * NS_PER_S / config.teleop.rate_hz),
        arm_late_ns=_SIM_ARM_LATE_NS if simulated else _ARM_LATE_NS,
        tick_gap_ns=_SIM_TICK_GAP_NS if simulated else _TICK_GAP_NS,
    )


def _motion_settings(config: Config) -> MotionSettings:
    limits = config.robot.limits
    return MotionSettings(
        speed_scale=limits.speed_scale,
        acceleration_scale=limits.acceleration_scale,
        jerk_scale=limits.jerk_scale,
        brake_acceleration_scale=limits.brake_acceleration_scale,
        brake_jerk_scale=limits.brake_jerk_scale,
        range_margin_rad=limits.range_margin_rad,
        tool_speed_m_s=limits.tool_speed_m_s,
        workspace_min_m=limits.workspace_min_m,
        workspace_max_m=limits.workspace_max_m,
        table_z_m=limits.table_z_m,
    )


def _ns(milliseconds: float) -> int:
    return round(milliseconds * NS_PER_MS)
