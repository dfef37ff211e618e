"""The state that the robot tells every millisecond, as bytes."""

import numpy as np
from tandem.tools.fci_emulator.body import Body
from tandem.tools.fci_emulator.dialect import Controller, Generator, RobotMode
from tandem.tools.fci_emulator.judge import Judge
from tandem.tools.fci_emulator.models import Model
from tandem.tools.fci_emulator.pose import tool_pose

IDLE = (Generator.IDLE, Controller.OTHER)
_POSE_EVERY = 8  # ticks of a motion


class Datagram:
    """One record, filled again and again; settings and errors are written to `row` directly."""

    def __init__(self, model: Model) -> None:
        self.row = np.zeros((), model.dialect.state)
        self._bytes = memoryview(self.row).cast("B")
        for name in ("F_T_EE", "EE_T_K", "F_T_NE", "NE_T_EE"):
            self.row[name] = np.eye(4).ravel()
        self.row["m_ee"] = 0.73

    def fill(
        self,
        message_id: int,
        body: Body,
        judge: Judge,
        mode: RobotMode,
        doing: tuple[Generator, Controller],
        success_rate: float,
    ) -> memoryview:
        """Valid until the next."""
        s = self.row
        s["message_id"] = message_id
        s["q"], s["dq"], s["tau_J"] = body.q, body.dq, body.tau
        s["theta"], s["dtheta"] = body.q, body.dq
        s["q_d"], s["dq_d"], s["ddq_d"] = judge.q, judge.dq, judge.ddq
        s["motion_generator_mode"], s["controller_mode"] = doing
        s["robot_mode"] = mode
        s["control_command_success_rate"] = success_rate
        idle = doing == IDLE
        if message_id % _POSE_EVERY == 0 or idle:
            pose = tool_pose(body.q)
            s["O_T_EE"] = pose
            s["O_T_EE_d"] = s["O_T_EE_c"] = pose if idle else tool_pose(judge.q)
        return self._bytes
