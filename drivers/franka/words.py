"""The robot's errors in words: what happened, and what to do."""

_COMMUNICATION = "communication_constraints_violation"
_WORDS = {
    _COMMUNICATION: (
        "20 set-points in a row reached the robot late or not at all: `tandem doctor` says what "
        "disturbs this machine; check the cable and the real-time kernel"
    ),
    "joint_motion_generator_position_limits_violation": "a set-point was outside the joint range",
    "joint_motion_generator_velocity_limits_violation": "a set-point moved too fast",
    "joint_motion_generator_velocity_discontinuity": "a set-point accelerated too hard",
    "joint_motion_generator_acceleration_discontinuity": "a set-point jerked",
    "joint_position_motion_generator_start_pose_invalid": "the first set-point was elsewhere",
    "max_goal_pose_deviation_violation": "the arm ended elsewhere than commanded",
    "max_path_pose_deviation_violation": "the arm left its path: does something push it?",
    "controller_torque_discontinuity": "a torque stepped",
    "start_elbow_sign_inconsistent": "its elbow is on the other side than commanded",
    "base_acceleration_initialization_timeout": "its base moved while it started: fix it firmly",
    "base_acceleration_invalid_reading": "its base shakes: fix it firmly",
    "cartesian_position_limits_violation": (
        "the tool is outside the space that its Desk allows: move it back by hand in guiding mode"
    ),
    "cartesian_velocity_violation": "the tool moved faster than it may: lower tool_speed_m_s",
    "joint_position_limits_violation": (
        "a joint is outside its range: move it back by hand in guiding mode"
    ),
    "joint_velocity_violation": "a joint moved faster than it may",
    "self_collision_avoidance_violation": "the arm nearly touched itself: move it apart by hand",
    "joint_reflex": "a joint met resistance beyond its collision threshold: clear the way",
    "cartesian_reflex": "the tool met resistance beyond its collision threshold: clear the way",
    "power_limit_violation": "the motion took more power than allowed: move slower, or less load",
    "tau_j_range_violation": "a joint's torque is out of range: is the load heavier than declared?",
    "instability_detected": "the robot swings: lower its stiffness, check the declared load",
}
_RESET = "then `tandem reset`"


def of_errors(names: list[str]) -> str:
    """For the names that libfranka gives; the first known one says what to do."""
    if not names:
        return f"the robot stopped by itself; see its Desk, {_RESET}"
    told = "; ".join(_WORDS.get(name, name.replace("_", " ")) for name in names)
    return f"{told} ({', '.join(names)}); {_RESET}"


def is_communication(names: list[str]) -> bool:
    """The robot stopped for want of set-points, not for something that it met."""
    return _COMMUNICATION in names


def of_rate(rate: float, bound: float) -> str:
    """For set-points that do not arrive in time."""
    return (
        f"only {rate:.0%} of the last 100 set-points reached the robot in time (told below "
        f"{bound:.0%}); 20 lost in a row stop it: `tandem doctor` says what disturbs this machine; "
        "check the cable and the real-time kernel"
    )


# Modes in which the robot does not obey, though nothing is wrong.
MODES = {
    "user_stop": "its user stop is pressed; release it, then `tandem reset`",
    "guiding": "somebody guides it by hand; let go, then `tandem reset`",
    "other": "it does not obey: unlock its joints and activate FCI in its Desk",
    "recovery": "it is recovering",
}


def of_interruption(what: str) -> str:
    """For a robot that is fine again, after something that ended our motion."""
    return f"{what}; the robot is ready again, {_RESET}"
