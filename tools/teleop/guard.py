"""Small memories of the session: a hand that must let go first, the gripper's wish, the call."""

from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.messages import Event, Mode, RobotState
from tandem.tools.teleop.wish import Wish

_GRIP_NS = 300 * NS_PER_MS  # the executor listens for 60 ms before it believes
_PATIENCE_NS = 2 * NS_PER_S
_RING_NS = 2 * NS_PER_S


class Latch:
    """After an interruption a hand that is still there moves nothing until it was away once."""

    def __init__(self) -> None:
        self.why: str | None = None

    def close(self, why: str) -> None:
        self.why = why

    def fold(self, wish: Wish) -> Wish:
        if self.why is None:
            return wish
        if wish.hand == "off":
            self.why = None
        return Wish()


class Fingers:
    """What the gripper was asked for, until the executor must have understood it.

    Kept no longer: a hand-over keeps the grip that stands, not one that was wished for long ago.
    """

    def __init__(self) -> None:
        self._value: float | None = None
        self._asked_ns = 0
        self._heard_ns = 0  # since when the operator has driven meanwhile

    def ask(self, value: float, now_ns: int) -> None:
        self._value, self._asked_ns, self._heard_ns = value, now_ns, 0

    def value(self, mode: Mode, now_ns: int) -> float | None:
        """0 closed … 1 open, None: as it is."""
        if mode == "teleop" and not self._heard_ns:
            self._heard_ns = now_ns
        understood = self._heard_ns and now_ns - self._heard_ns > _GRIP_NS
        if understood or now_ns - self._asked_ns > _PATIENCE_NS:
            self._value = None
        return self._value


class Call:
    """The executor asks for an operator: until one is there, `text` stands and the bell rings."""

    def __init__(self) -> None:
        self.text: str | None = None
        self._called_ns = self._rung_ns = 0

    def hear(self, event: Event) -> None:
        if event.kind in ("operator", "fault"):
            self.text, self._called_ns, self._rung_ns = event.text, event.t_ns, 0

    def answer(self) -> None:
        """Somebody has pressed a key."""
        self.text = None

    def rings(self, state: RobotState, now_ns: int) -> bool:
        """Is it time for the bell? The call comes before the state of its own tick: one that is
        older does not answer it."""
        if state.mode in ("policy", "teleop") and state.t_wake_ns >= self._called_ns:
            self.text = None
        if self.text is None or now_ns - self._rung_ns < _RING_NS:
            return False
        self._rung_ns = now_ns
        return True
