"""What the vendors' clients do in a process of their own.

panda_py brings a libfranka of another version than pylibfranka's, with the same names in it: in one
process the two take each other's, and crash.
"""

import importlib.util
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

_TIMEOUT_S = 60.0


def needed() -> None:
    """Skips the test where panda_py is not installed, without loading it."""
    if importlib.util.find_spec("panda_py") is None:
        pytest.skip("panda_py is not installed", allow_module_level=True)


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work`, a function of this file, returns or raises in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result(_TIMEOUT_S)


def smooth(k: int, ticks: int) -> float:
    u = k / ticks
    return u**3 * (10 - 15 * u + 6 * u * u)


def grasp(host: str) -> tuple[bool, bool]:
    """Did the hand say that it grasped, and that it holds?"""
    from panda_py import libfranka

    hand = libfranka.Gripper(host)
    return hand.grasp(0.04, 0.5, 10.0, 0.005, 0.005), hand.read_once().is_grasped


def turn_then_leap(host: str) -> dict[str, Any]:
    """Turn joint 2 by 0.1 rad in 0.3 s; then leap, fall into a reflex, and recover."""
    from panda_py import libfranka

    robot = libfranka.Robot(host, libfranka.RealtimeConfig.kIgnore)
    start = np.array(robot.read_once().q_d)
    ticks = 0

    def turn(state: Any, period: Any) -> Any:
        nonlocal ticks
        target = libfranka.JointPositions(
            (start + 0.1 * smooth(ticks, 300) * np.eye(7)[1]).tolist()
        )
        target.motion_finished = ticks == 300
        ticks += 1
        return target

    stiff = libfranka.ControllerMode.kJointImpedance
    robot.control_joint_position(turn, stiff, False, 1000.0)
    told: dict[str, Any] = {"start": start, "turned": np.array(robot.read_once().q_d)}
    ticks, start = 250, start + 1.0
    try:
        robot.control_joint_position(turn, stiff, False, 1000.0)
    except Exception as error:
        told["leap"] = str(error)
    told["reflex"] = robot.read_once().robot_mode == libfranka.RobotMode.kReflex
    robot.automatic_error_recovery()
    told["recovered"] = robot.read_once().robot_mode == libfranka.RobotMode.kIdle
    return told


def kinematics(q: np.ndarray) -> np.ndarray:
    """panda_py.fk of each row of `q` [N, 7] rad: [N, 4, 4]."""
    import panda_py

    return np.array([panda_py.fk(row) for row in q])


def inverse(poses: np.ndarray, q: np.ndarray) -> np.ndarray:
    """panda_py.ik of each pose [N, 4, 4], near `q` [N, 7] rad and with its seventh joint."""
    import panda_py

    return np.array([panda_py.ik(*both, both[1][6]) for both in zip(poses, q, strict=True)])
