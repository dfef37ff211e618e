"""An arm without physics: it is at once where it is told to be. The first rung before motion.

It takes set-points by the same rules as the simulated arm (quintic segments between knots, its own
brake when they end, refusal outside its limits), so whoever drives it meets the same law.
"""

import numpy as np
from tandem.drivers.sim.follow import Follower
from tandem.runtime.clock import NS_PER_MS, Clock, MonotonicClock
from tandem.runtime.errors import DeviceError
from tandem.runtime.interfaces import ArmSpec, ArmState, Array, Knot

_STEP_NS = NS_PER_MS
_OPEN_WIDTH_M = 0.08


class FakeArm:
    """Implements runtime.interfaces.Arm."""

    spec: ArmSpec

    def __init__(self, spec: ArmSpec, home_q: Array, clock: Clock | None = None) -> None:
        """`home_q` [D] rad is where it stands at first."""
        self.spec = spec
        self._home_q = home_q
        self._clock = clock or MonotonicClock()
        self._follower: Follower | None = None

    def connect(self) -> None:
        """Raises DeviceError when it is connected already."""
        if self._follower is not None:
            raise DeviceError("this FakeArm is connected already; make one client per process")
        self._follower = Follower(self.spec, self._home_q, self._clock.now_ns())

    def read(self, timeout_ns: int) -> ArmState:
        follower = self._following()
        t_ns = self._clock.now_ns() // _STEP_NS * _STEP_NS
        point = follower.advance(t_ns)
        moving = bool(np.abs(point.dq).max() > 0)
        return ArmState(
            t_ns=t_ns,
            q=point.q.copy(),
            dq=point.dq.copy(),
            tau=np.zeros(len(point.q)),
            q_d=point.q.copy(),
            dq_d=point.dq.copy(),
            ddq_d=point.ddq.copy(),
            width_m=point.gripper * _OPEN_WIDTH_M,
            status="moving" if moving else "idle",
            underruns=follower.underruns,
            coasting=follower.coasting,
        )

    def send(self, knot: Knot) -> None:
        self._following().offer(knot, self._clock.now_ns())

    def stop(self) -> None:
        if self._follower is not None:
            self._follower.brake()

    def _following(self) -> Follower:
        if self._follower is None:
            raise DeviceError("the arm is not connected; call connect() first")
        return self._follower
