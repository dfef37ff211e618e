"""The line to the arm: its newest state, its last word, and why it cannot be commanded now."""

import math

from tandem.runtime.clock import NS_PER_MS, Clock
from tandem.runtime.errors import DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import Arm, ArmState, Knot, Notice

_STILL_RAD_S = 0.05  # as measured
_STANDS_RAD_S = 1e-6  # of the set-point, which wavers in its last bit as knots are interpolated


class ArmLink:
    """Errors of the driver become facts here: a tick asks for them, it never catches them."""

    def __init__(self, arm: Arm, clock: Clock, late_ns: int, read_only: bool) -> None:
        self.state: ArmState | None = None
        self._arm, self._clock = arm, clock
        self._late_ns, self._read_only = late_ns, read_only
        self._read_error: str | None = None
        self._send_error: str | None = None

    def read(self, timeout_ns: int) -> bool:
        """Take the newest state; False: there is none, and the age of the last one will tell."""
        try:
            state = self._arm.read(timeout_ns)
        except DeviceTimeoutError:
            return False
        except DeviceError as error:
            self._read_error = str(error)
            return False
        finite = _is_finite(state)
        self._read_error = None if finite else "the arm reports numbers that are not finite"
        self.state = state if finite else self.state
        return finite

    def send(self, knot: Knot) -> int:
        """When `Arm.send` had returned, ns; 0: it refused."""
        try:
            self._arm.send(knot)
        except DeviceError as error:
            self._send_error = str(error)
            return 0
        self._send_error = None
        return self._clock.now_ns()

    @property
    def in_reflex(self) -> bool:
        """The arm stopped by itself and waits until somebody asks it to go on."""
        return self.state is not None and self.state.status == "reflex"

    def recover(self) -> None:
        """Ask the arm to end its reflex."""
        try:
            self._arm.recover()
        except DeviceError as error:
            self._send_error = str(error)

    def notices(self) -> list[Notice]:
        """What the driver would have people know, if it tells."""
        tell = getattr(self._arm, "notices", None)
        return tell() if tell is not None else []

    @property
    def obeys(self) -> bool:
        """The arm follows set-points, as far as it has said."""
        return self.state is not None and self.state.status in ("idle", "moving")

    def cause(self, now_ns: int) -> str | None:
        """Of a fault, as far as it stands."""
        error, state = self._read_error or self._send_error, self.state
        if error or state is None:
            return error
        if now_ns - state.t_ns > self._late_ns:
            return f"the arm is silent for more than {self._late_ns // NS_PER_MS} ms"
        if not self.obeys:
            return f"{state.status}: {state.error or 'see the display of the arm'}"
        return None

    def unready(self, now_ns: int) -> str | None:
        """Why the arm cannot be held; None: it can."""
        if self._read_only:
            return "access is read_only"
        if self.state is None:
            return self._read_error or "the arm has not been heard yet"
        return self.cause(now_ns) or self._moving()

    def irrecoverable(self, now_ns: int) -> str | None:
        """Why a reset would not help now; None: it would, if the arm agrees."""
        return self._moving() if self.in_reflex else self.unready(now_ns)

    def _moving(self) -> str | None:
        return "the arm still moves" if self.state is None or _moves(self.state) else None


def _is_finite(state: ArmState) -> bool:
    # One NaN makes the sum of squares one; and no arm's numbers are so large that it overflows.
    numbers = (state.q, state.dq, state.q_d, state.dq_d, state.ddq_d)
    return math.isfinite(sum(float(row @ row) for row in numbers))


def _moves(state: ArmState) -> bool:
    still = (abs(state.dq_d) <= _STANDS_RAD_S).all() and (abs(state.dq) <= _STILL_RAD_S).all()
    return not still
