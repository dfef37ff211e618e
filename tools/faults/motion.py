"""A rig is brought to a known beginning, and into fast motion; again where the machine stalled."""

import numpy as np
from tandem.drivers.sim.panda import HOME_Q_RAD
from tandem.runtime.errors import TandemError
from tandem.tools.faults.rig import Rig

BACK_TIMEOUT_S = 40.0
_FAST_TIMEOUT_S = 10.0


def prepare(rig: Rig) -> None:
    """Ready, in hold, at home, with nothing between the fingers."""
    rig.until(rig.is_ready, BACK_TIMEOUT_S, "ready again")
    if rig.mode() == "policy":
        rig.hold()
    rig.until(lambda: rig.mode() in ("hold", "fault", "idle"), BACK_TIMEOUT_S, "at rest")
    rig.until(lambda: _holds(rig), BACK_TIMEOUT_S, "in hold")
    rig.sim(do="teleport", q=HOME_Q_RAD.tolist(), gripper=1.0)
    rig.watch(0.1)


def _holds(rig: Rig) -> bool:
    """It does, or is asked to: again, while the cause of a fault stands."""
    if rig.mode() in ("fault", "idle"):
        rig.reset()
    return rig.mode() == "hold"


def sweep(rig: Rig, seconds: float, fast_rad_s: float) -> None:
    """In motion for so long at least, and fast.

    Again, where a starved machine has ended it.

    Raises:
        TandemError: it never came to that.
    """
    for tries_left in (2, 1, 0):
        prepare(rig)
        try:
            rig.go("sweep")
            rig.watch(seconds)
            rig.until(lambda: _is_fast(rig, fast_rad_s), _FAST_TIMEOUT_S, "fast")
        except TandemError:
            if not tries_left or rig.returncode is not None:
                raise
        else:
            return


def _is_fast(rig: Rig, rad_s: float) -> bool:
    moves = rig.mode() == "policy" and rig.state is not None
    return moves and float(np.abs(rig.states[-1].dq_cmd).max()) > rad_s
