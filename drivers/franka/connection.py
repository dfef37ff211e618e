"""The connection to a robot, and what becomes of it: lost, found again, never trusted silently.

A lost connection is sought again for reading, but what happened stays: until somebody `recover`s on
purpose, the robot counts as stopped. Nothing here waits but `connect`.
"""

from tandem.drivers.franka.errand import Errand
from tandem.drivers.franka.line import Line, Report
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock
from tandem.runtime.errors import DeviceError, DeviceTimeoutError

_ERRAND_NS = 10 * NS_PER_S
_RETRY_NS = 1 * NS_PER_S
# The robot notices that one client has left before it lets the next one in.
_SETTLE_NS = 50 * NS_PER_MS


class Connection:
    """`openings` counts connections; `latched` says what ended one, until `recover`."""

    def __init__(self, host: str, line: Line, clock: Clock) -> None:
        self.line = line
        self.openings = 0
        self.latched: str | None = None
        self.urdf: str | None = None  # the robot's newest description of itself
        self._host, self._clock = host, clock
        self._errand: Errand | None = None
        self._lost: str | None = None
        self._next_ns = self._start_ns = 0  # not before: knock again or open; and call

    def connect(self, timeout_ns: int) -> None:
        """Raises DeviceTimeoutError or DeviceError: see errand.Errand.step."""
        errand = Errand(self._host, self.line.server, timeout_ns).run()
        wait = MonotonicClock()
        wait.sleep_until(wait.now_ns() + _SETTLE_NS)
        self._open(errand)

    def read(self, timeout_ns: int) -> Report:
        """The next state.

        Raises:
            DeviceTimeoutError: the robot is silent, or recovering.
            DeviceError: the connection is lost; it is sought again meanwhile.
        """
        if self._errand is not None:
            self._go_on(self._errand)
        elif self._lost is not None:
            self._knock()
        try:
            return self.line.read(timeout_ns)
        except DeviceTimeoutError:
            raise
        except DeviceError as error:
            self.lose(str(error))
            raise

    @property
    def up(self) -> bool:
        return self._lost is None and self._errand is None

    def lose(self, why: str) -> None:
        """Something went wrong that this connection cannot survive."""
        self.line.close()
        if self._errand is not None:
            self._errand.close()
        self._errand = None
        self._lost, self.latched = why, f"the connection was lost ({why})"
        self._next_ns = self._clock.now_ns() + _RETRY_NS

    def recover(self, from_reflex: bool) -> None:
        """Begin to recover; done in the next `read`s."""
        self.latched = None
        if self._errand is not None:
            if self._errand.recovers:
                return  # asked twice: the first is under way
            self._errand.close()
        if from_reflex or not self.up:
            self._visit(recover=True)

    def close(self) -> None:
        if self._errand is not None:
            self._errand.close()
        self.line.end()
        self._errand, self._lost = None, "the connection was closed"
        self._next_ns = 1 << 62

    def _knock(self) -> None:
        if self._clock.now_ns() >= self._next_ns:
            self._visit(recover=False)
        raise DeviceError(f"{self._lost}; trying to hear it again")

    def _visit(self, recover: bool) -> None:
        self.line.close()
        self._next_ns = 0
        self._start_ns = self._clock.now_ns() + _SETTLE_NS
        self._errand = Errand(
            self._host, self.line.server, _ERRAND_NS, recover=recover, clock=self._clock
        )

    def _go_on(self, errand: Errand) -> None:
        """One step; returns once the connection is up again."""
        now_ns = self._clock.now_ns()
        try:
            if self._next_ns == 0 and now_ns >= self._start_ns and errand.step():
                self._next_ns = now_ns + _SETTLE_NS
            if self._next_ns and now_ns >= self._next_ns:
                self._open(errand)
                return
        except DeviceError as error:
            self.lose(str(error))
            raise
        raise DeviceTimeoutError(f"the robot at {self._host} is being called again")

    def _open(self, errand: Errand) -> None:
        self.line.open()
        self.urdf = errand.urdf
        self._errand = self._lost = None
        self.openings += 1
