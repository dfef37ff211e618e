"""A perfect arm in this process: it is where its set-point is. For tests, and for a first try.

It follows knots exactly as the simulated arm does, with the same brake when they end, but has no
physics. Faults on demand: `go_silent`, `interrupt`, `recover`.
"""

import numpy as np
from tandem.drivers.sim.follow import Follower
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock
from tandem.runtime.errors import DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import ArmSpec, ArmState, Array, Knot

_WIDTH_M = 0.08
_FINGERS_M_S = 0.1
_STEP_NS = NS_PER_MS


class FakeArm:
    """Implements runtime.interfaces.Arm.

    With `trace`, what it followed is kept per millisecond: rows of (t_ns, q, dq, ddq) in `trace`.
    """

    def __init__(
        self,
        spec: ArmSpec,
        home_q: Array,
        clock: Clock | None = None,
        trace: bool = False,
    ) -> None:
        self.spec = spec
        self.trace: list[tuple[int, Array, Array, Array]] = []
        self.sent: Knot | None = None
        self._clock = clock or MonotonicClock()
        self._tracing = trace
        self._t_ns = self._clock.now_ns()
        self._follower = Follower(spec, np.array(home_q, float), self._t_ns)
        self._width_m = _WIDTH_M
        self._status = "idle"
        self._error: str | None = None
        self._silent = False
        self._beat_ns = self._t_ns

    def connect(self) -> None:
        self._advance()

    def read(self, timeout_ns: int) -> ArmState:
        """The state now; where the arm gives the beat, at its next one.

        Raises:
            DeviceTimeoutError: it was told to be silent.
        """
        if self.spec.paced_by == "arm":
            self._beat_ns += round(NS_PER_S / self.spec.rate_hz)
            self._clock.sleep_until(self._beat_ns)
        self._advance()
        if self._silent:
            raise DeviceTimeoutError("the fake arm was told to be silent; call go_silent(False)")
        point = self._follower.now
        moving = bool(point.dq.any())
        status = self._status if self._status != "idle" else "moving" if moving else "idle"
        return ArmState(
            t_ns=self._t_ns,
            q=point.q,
            dq=point.dq,
            tau=np.zeros(len(point.q)),
            q_d=point.q,
            dq_d=point.dq,
            ddq_d=point.ddq,
            width_m=self._width_m,
            status=status,  # type: ignore[arg-type]
            error=self._error,
            underruns=self._follower.underruns,
            coasting=self._follower.coasting,
        )

    def send(self, knot: Knot) -> None:
        """Raises DeviceError: it is silent."""
        if self._silent:
            raise DeviceError("the fake arm was told to be silent; call go_silent(False)")
        self._advance()
        self._follower.offer(knot, self._clock.now_ns())
        self.sent = knot

    def stop(self) -> None:
        self._advance()
        self._follower.brake()

    # -- faults on demand ------------------------------------------------------------------------

    def go_silent(self, silent: bool = True) -> None:
        """Neither answer nor listen, like an arm whose cable was pulled."""
        self._silent = silent

    def interrupt(self, status: str, error: str) -> None:
        """A reflex or a user stop: brake, and drop every knot until `recover`."""
        self._advance()
        self._status, self._error = status, error
        self._follower.brake()
        self._follower.blocked = True

    def recover(self) -> None:
        self._status, self._error = "idle", None
        self._follower.blocked = False

    @property
    def counters(self) -> dict[str, int]:
        follower = self._follower
        return {
            "underruns": follower.starved,
            "late_knots": follower.late,
            "refused_knots": follower.refused,
        }

    # -- time ------------------------------------------------------------------------------------

    def _advance(self) -> None:
        now_ns = self._clock.now_ns()
        self._move_fingers((now_ns - self._t_ns) / NS_PER_S)
        while self._tracing and self._t_ns + _STEP_NS < now_ns:
            self._t_ns += _STEP_NS
            self._follow(self._t_ns)
        self._t_ns = now_ns
        self._follow(now_ns)

    def _follow(self, t_ns: int) -> None:
        point = self._follower.advance(t_ns)
        if self._tracing:
            self.trace.append((t_ns, point.q, point.dq, point.ddq))

    def _move_fingers(self, dt_s: float) -> None:
        wanted_m = self._follower.now.gripper * _WIDTH_M
        reach_m = _FINGERS_M_S * dt_s
        self._width_m += min(max(wanted_m - self._width_m, -reach_m), reach_m)
