"""What may be asked of a running emulator at its own port: reports, faults, another start."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from tandem.runtime.errors import RefusedError
from tandem.tools.fci_emulator.dialect import Error
from tandem.tools.fci_emulator.faults import checked

if TYPE_CHECKING:
    from tandem.tools.fci_emulator.server import Emulator


def obey(emulator: "Emulator", asked: dict[str, Any]) -> dict[str, Any]:
    """Raises RefusedError, KeyError or ValueError: that cannot be done."""
    match asked.get("do"):
        case "report":
            return _report(emulator)
        case "fault":
            _fault(emulator, checked(str(asked.get("kind"))), asked)
            return {"ticks": emulator.ticks}
        case "log":  # since it was asked for last
            log = list(emulator.log)
            emulator.log.clear()
            return {"log": log}
        case "restart":
            emulator.restart()
            return {}
        case "quit":
            emulator.stopping = True
            return {}
        case str(other) if other in emulator.further:
            return emulator.further[other](asked)
    there = ", ".join(("report", "fault", "log", "restart", *emulator.further))
    raise RefusedError(f"there are {there} and quit to do")


def _report(emulator: "Emulator") -> dict[str, Any]:
    robot = emulator.robot
    return {
        "mode": robot.mode.name.lower(),
        "ticks": emulator.ticks,
        "told_tick": emulator.told_tick,
        "heard_tick": emulator.heard_tick,
        "own_late_ticks": emulator.late_ticks,
        "q_min": robot.model.q_min.tolist(),
        "q_max": robot.model.q_max.tolist(),
        "q": robot.body.q.tolist(),
        "q_d": robot.judge.q.tolist(),
        "dq_d": robot.judge.dq.tolist(),
        "width_m": robot.body.width_m,
        "motion": robot.listening,
        "settings": robot.settings.told,
        "hand_requests": emulator.hand.requests,
        "hand_busy": emulator.hand.busy,
        **asdict(robot.judge.tally),
    }


def _fault(emulator: "Emulator", kind: str, asked: dict[str, Any]) -> None:
    channel, robot = emulator.channel, emulator.robot
    faults, share = channel.faults, float(asked.get("share", 0.0))
    match kind:
        case "silence":
            faults.silent = True
        case "freeze":
            faults.frozen = True
        case "late":
            faults.late_ticks = int(asked.get("ticks", 5))
        case "lose" if "count" in asked:
            channel.lose(int(asked["count"]))
        case "lose":
            faults.lose_share, faults.burst_max = share, int(asked.get("burst", 1))
        case "reorder":
            faults.reorder_share = share
        case "reflex":
            robot.reflex(Error[str(asked.get("error", "joint_reflex")).upper()])
        case "user_stop" | "release":
            robot.user_stop(kind == "user_stop")
        case "close_tcp":
            emulator.hang_up()
        case "push":  # put a resting arm elsewhere, as by hand
            robot.judge.place(np.array(asked["q"], dtype=float))
        case "none":
            channel.faults = type(faults)()
