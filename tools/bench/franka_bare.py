"""The vendor's joint position example through pylibfranka, for ever: `… HOST CPU PRIORITY`.

Read a state, compute a cosine, write a set-point; nothing else runs in its interpreter. Pinned and
scheduled as our executor is. After a reflex it recovers and begins again, so that a run is a run.
"""

import math
import sys
from typing import Any

from tandem.runtime.realtime import freeze_garbage, real_time

_SWING_RAD, _TURN_S = math.pi / 8, 5.0
_JOINTS = (3, 4, 6)


def main(host: str, cpu: str, priority: str) -> None:
    import pylibfranka

    robot = pylibfranka.Robot(host, pylibfranka.RealtimeConfig.kIgnore)
    real_time(int(priority), int(cpu))
    freeze_garbage()
    print("ready", flush=True)
    while True:
        try:
            _move(pylibfranka, robot)
        except pylibfranka.ControlException:
            robot.automatic_error_recovery()


def _move(library: Any, robot: Any) -> None:
    control = robot.start_joint_position_control(library.ControllerMode.JointImpedance)
    state, _ = control.readOnce()
    start, t_s = list(state.q_d), 0.0
    while True:
        away = _SWING_RAD * (1 - math.cos(2 * math.pi / _TURN_S * t_s))
        q = [value + away * (joint in _JOINTS) for joint, value in enumerate(start)]
        control.writeOnce(library.JointPositions(q))
        _, period = control.readOnce()
        t_s += period.to_sec()


if __name__ == "__main__":
    main(*sys.argv[1:])
