"""An arm without physics: it is at once where its set-point is. The first rung before motion.

It takes set-points by the same rules as the simulated arm (quintic segments between knots, its own
brake when they end, refusal outside its limits), so whoever drives it meets the same law. Faults on
demand: `go_silent`, `interrupt`, `release`.
"""

import numpy as np
from tandem.drivers.follow import Follower
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock
from tandem.runtime.errors import DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import ArmSpec, ArmState, Array, Knot

_STEP_NS = NS_PER_MS
_OPEN_WIDTH_M = 0.08
_FINGERS_M_S = 0.1


class FakeArm:
    """Implements runtime.interfaces.Arm.

    With `trace`, `followed` keeps what it followed in every millisecond: (t_ns, q, dq, ddq).
    """

    spec: ArmSpec

    def __init__(
        self, spec: ArmSpec, home_q: Array, clock: Clock | None = None, trace: bool = False
    ) -> None:
        """`home_q` [D] rad is where it stands at first."""
        self.spec = spec
        self.followed: list[tuple[int, Array, Array, Array]] | None = [] if trace else None
        self.sent: Knot | None = None
        self._home_q = np.array(home_q, float)
        self._clock = clock or MonotonicClock()
        self._follower: Follower | None = None
        self._t_ns = 0
        self._width_m = _OPEN_WIDTH_M
        self._status = "idle"
        self._error: str | None = None
        self._silent = False

    def connect(self) -> None:
        """Raises DeviceError when it is connected already."""
        if self._follower is not None:
            raise DeviceError("this FakeArm is connected already; make one client per process")
        self._t_ns = self._clock.now_ns() // _STEP_NS * _STEP_NS
        self._follower = Follower(self.spec, self._home_q, self._t_ns)

    def read(self, timeout_ns: int) -> ArmState:
        """The state now; where the arm gives the beat, at its next one.

        Raises:
            DeviceTimeoutError: it was told to be silent.
            DeviceError: not connected.
        """
        if self.spec.paced_by == "arm":
            self._clock.sleep_until(self._t_ns + round(NS_PER_S / self.spec.rate_hz))
        follower = self._advance()
        point = follower.now
        moving = bool(np.abs(point.dq).max() > 0)
        status = self._status if self._status != "idle" else "moving" if moving else "idle"
        return ArmState(
            t_ns=self._t_ns,
            q=point.q.copy(),
            dq=point.dq.copy(),
            tau=np.zeros(len(point.q)),
            q_d=point.q.copy(),
            dq_d=point.dq.copy(),
            ddq_d=point.ddq.copy(),
            width_m=self._width_m,
            status=status,  # type: ignore[arg-type]
            error=self._error,
            underruns=follower.underruns,
            coasting=follower.coasting,
        )

    def send(self, knot: Knot) -> None:
        """Raises DeviceError: not connected, or told to be silent."""
        self._advance().offer(knot, self._clock.now_ns())
        self.sent = knot

    def stop(self) -> None:
        if self._follower is not None and not self._silent:
            self._advance().brake()

    def recover(self) -> None:
        """End a reflex; a user stop ends by `release` alone."""
        if self._status == "reflex" and not self._silent:
            self.release()

    # -- faults on demand --------------------------------------------------------------------------

    def go_silent(self, silent: bool = True) -> None:
        """Neither answer nor listen, like an arm whose cable was pulled."""
        self._silent = silent

    def interrupt(self, status: str, error: str) -> None:
        """A reflex or a user stop: brake, and drop every knot until `recover` or `release`."""
        follower = self._advance()
        self._status, self._error, follower.blocked = status, error, True
        follower.brake()

    def release(self) -> None:
        """The user stop is released, or the reflex over, by whoever stands at the arm."""
        follower = self._advance()
        self._status, self._error, follower.blocked = "idle", None, False

    def place(self, q: Array) -> None:
        """Put the arm at `q` [D] rad, at rest, as if by hand while nobody commanded."""
        follower = self._advance()
        follower.restart(np.array(q, float), self._t_ns, follower.now.gripper)

    @property
    def counters(self) -> dict[str, int]:
        """What became of the knots: streams that ended, late and refused ones."""
        follower = self._follower
        if follower is None:
            return {}
        return {
            "starved": follower.starved,
            "late_knots": follower.late,
            "refused_knots": follower.refused,
        }

    # -- time --------------------------------------------------------------------------------------

    def _advance(self) -> Follower:
        """Bring everything up to the clock, in whole milliseconds."""
        follower = self._follower
        if follower is None:
            raise DeviceError("the arm is not connected; call connect() first")
        if self._silent:
            raise DeviceTimeoutError("the fake arm was told to be silent: go_silent(False)")
        t_ns = self._clock.now_ns() // _STEP_NS * _STEP_NS
        self._move_fingers(follower.now.gripper, (t_ns - self._t_ns) / NS_PER_S)
        while self.followed is not None and self._t_ns < t_ns:
            self._t_ns += _STEP_NS
            point = follower.advance(self._t_ns)
            self.followed.append((self._t_ns, point.q, point.dq, point.ddq))
        self._t_ns = t_ns
        follower.advance(t_ns)
        return follower

    def _move_fingers(self, opening: float, dt_s: float) -> None:
        reach_m = _FINGERS_M_S * dt_s
        away_m = opening * _OPEN_WIDTH_M - self._width_m
        self._width_m += min(max(away_m, -reach_m), reach_m)
