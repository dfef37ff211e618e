"""The two dialects of the Franka Control Interface: numbers, sizes and places of everything sent.

Version 10 is spoken by an FR3 (system 5.9 and later), version 5 by the older Panda/FER (system
4.2). Little endian, nothing padded. Requests and replies of the robot travel over TCP with a header
of three u32 (command, id, size including the header); states and commands are bare UDP datagrams.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np

DOF = 7
ROBOT_PORT, GRIPPER_PORT = 1337, 1338
HEADER = struct.Struct("<III")
CONNECT = struct.Struct("<HH")  # version, UDP port

_ERRORS = 41
_WIDE = {  # field: how many floats; in the order of the wire
    "O_T_EE": 16, "O_T_EE_d": 16, "F_T_EE": 16, "EE_T_K": 16, "F_T_NE": 16, "NE_T_EE": 16,
    "m_ee": 1, "I_ee": 9, "F_x_Cee": 3, "m_load": 1, "I_load": 9, "F_x_Cload": 3,
    "elbow": 2, "elbow_d": 2, "tau_J": 7, "tau_J_d": 7, "dtau_J": 7,
    "q": 7, "q_d": 7, "dq": 7, "dq_d": 7, "ddq_d": 7,
    "joint_contact": 7, "cartesian_contact": 6, "joint_collision": 7, "cartesian_collision": 6,
    "tau_ext_hat_filtered": 7, "O_F_ext_hat_K": 6, "K_F_ext_hat_K": 6,
    "O_dP_EE_d": 6, "O_ddP_O": 3, "elbow_c": 2, "delbow_c": 2, "ddelbow_c": 2,
    "O_T_EE_c": 16, "O_dP_EE_c": 6, "O_ddP_EE_c": 6, "theta": 7, "dtheta": 7,
}  # fmt: skip
_ACCELEROMETERS = {"accelerometer_top": 18, "accelerometer_bottom": 18}
_COMMAND = [
    ("message_id", "<u8"),
    ("q_c", "<f8", DOF),
    ("dq_c", "<f8", DOF),
    ("O_T_EE_c", "<f8", 16),
    ("O_dP_EE_c", "<f8", 6),
    ("elbow_c", "<f8", 2),
    ("valid_elbow", "?"),
    ("motion_finished", "?"),
    ("tau_J_d", "<f8", DOF),
]
_SETTERS = {  # payload bytes
    "SetCollisionBehavior": 416,
    "SetJointImpedance": 56,
    "SetCartesianImpedance": 48,
    "SetGuidingMode": 7,
    "SetEEToK": 128,
    "SetNEToEE": 128,
    "SetLoad": 104,
    "SetFilters": 40,
}


class RobotMode(IntEnum):
    OTHER = 0
    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    RECOVERY = 6


class Generator(IntEnum):
    """As the state numbers them; a Move request counts from 0 instead, without IDLE."""

    IDLE = 0
    JOINT_POSITION = 1
    JOINT_VELOCITY = 2
    CARTESIAN_POSITION = 3
    CARTESIAN_VELOCITY = 4
    NONE = 5


class Controller(IntEnum):
    JOINT_IMPEDANCE = 0
    CARTESIAN_IMPEDANCE = 1
    EXTERNAL = 2
    OTHER = 3


@dataclass(frozen=True)
class Dialect:
    """What differs between the versions. Status words are looked up by name."""

    version: int
    commands: tuple[str, ...]  # by number
    move_status: tuple[str, ...]
    stop_status: tuple[str, ...]
    recovery_status: tuple[str, ...]
    move: struct.Struct
    float_code: str

    @cached_property
    def state(self) -> np.dtype:
        """The datagram that the robot sends every millisecond."""
        counts = _WIDE | (_ACCELEROMETERS if self.version >= 10 else {})
        fields: list[tuple] = [("message_id", "<u8")]
        fields += [
            (name, self.float_code, n) if n > 1 else (name, self.float_code)
            for name, n in counts.items()
        ]
        fields += [("motion_generator_mode", "u1"), ("controller_mode", "u1")]
        fields += [("errors", "u1", _ERRORS), ("reflex_reason", "u1", _ERRORS)]
        fields += [("robot_mode", "u1"), ("control_command_success_rate", self.float_code)]
        return np.dtype(fields)

    @cached_property
    def command(self) -> np.dtype:
        """The datagram that the client answers with."""
        last = [("torque_finished", "?")] if self.version >= 7 else []
        return np.dtype(_COMMAND + last)

    def payload_size(self, name: str) -> int | None:
        """Bytes after the header; None: anything goes."""
        fixed = {"Connect": CONNECT.size, "Move": self.move.size} | _SETTERS
        return fixed.get(name)

    def status(self, name: str, word: str) -> int:
        """The number of a status word in the reply to command `name`."""
        words = {
            "Move": self.move_status,
            "StopMove": self.stop_status,
            "AutomaticErrorRecovery": self.recovery_status,
        }.get(name, _OTHER_STATUS)
        return words.index(word)


_OTHER_STATUS = ("Success", "NotPossible", "InvalidArgument")
_HEAD_10 = ("Success", "MotionStarted", "Preempted", "PreemptedForSafety", "RejectedForSafety")
_TAIL = (
    "NotPossible", "SingularPose", "InvalidArgument", "Reflex", "Emergency", "InputError", "Aborted"
)  # fmt: skip

V10 = Dialect(
    version=10,
    commands=(
        "Connect", "Move", "StopMove", "SetCollisionBehavior", "SetJointImpedance",
        "SetCartesianImpedance", "SetGuidingMode", "SetEEToK", "SetNEToEE", "SetLoad",
        "AutomaticErrorRecovery", "GetRobotModel",
    ),
    move_status=_HEAD_10 + _TAIL,
    stop_status=("Success", "NotPossible", "RejectedForSafety", "Emergency", "Reflex", "Aborted"),
    recovery_status=(
        "Success", "NotPossible", "RejectedForSafety", "ManualRecoveryRequired", "Reflex",
        "Emergency", "Aborted",
    ),
    move=struct.Struct("<II6dB7d"),
    float_code="<f4",
)  # fmt: skip
V5 = Dialect(
    version=5,
    commands=(
        "Connect", "Move", "StopMove", "GetCartesianLimit", "SetCollisionBehavior",
        "SetJointImpedance", "SetCartesianImpedance", "SetGuidingMode", "SetEEToK", "SetNEToEE",
        "SetLoad", "SetFilters", "AutomaticErrorRecovery", "LoadModelLibrary",
    ),
    move_status=_HEAD_10[:3] + _TAIL,
    stop_status=("Success", "NotPossible", "Emergency", "Reflex", "Aborted"),
    recovery_status=(
        "Success", "NotPossible", "ManualRecoveryRequired", "Reflex", "Emergency", "Aborted"
    ),
    move=struct.Struct("<II6d"),
    float_code="<f8",
)  # fmt: skip
DIALECTS = {10: V10, 5: V5}


class Error(IntEnum):
    """Places in `errors` and `reflex_reason` that the emulator sets."""

    JOINT_POSITION_LIMITS = 0
    SELF_COLLISION = 2
    JOINT_VELOCITY = 3
    JOINT_REFLEX = 6
    CARTESIAN_REFLEX = 7
    START_POSE_INVALID = 11
    MG_POSITION_LIMITS = 12
    MG_VELOCITY_LIMITS = 13
    MG_VELOCITY_DISCONTINUITY = 14
    MG_ACCELERATION_DISCONTINUITY = 15
    COMMUNICATION = 25
    POWER_LIMIT = 26
    TORQUE_DISCONTINUITY = 32
    TAU_J_RANGE = 34
    INSTABILITY = 35
