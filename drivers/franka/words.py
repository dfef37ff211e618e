"""The robot's errors in words: what happened, and what to do."""

_WORDS = {
    "communication_constraints_violation": (
        "20 set-points in a row reached the robot late or not at all: `tandem doctor` says what "
        "disturbs this machine; check the cable and the real-time kernel"
    ),
    "joint_motion_generator_position_limits_violation": "a set-point was outside the joint range",
    "joint_motion_generator_velocity_limits_violation": "a set-point moved too fast",
    "joint_motion_generator_velocity_discontinuity": "a set-point accelerated too hard",
    "joint_motion_generator_acceleration_discontinuity": "a set-point jerked",
    "joint_position_motion_generator_start_pose_invalid": "the first set-point was elsewhere",
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
