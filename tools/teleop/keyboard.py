"""The keyboard as a device: keys that move while they are held, or one bounded move per event."""

from tandem.runtime.clock import NS_PER_MS
from tandem.tools.teleop.jog import Jog
from tandem.tools.teleop.keys import Key
from tandem.tools.teleop.wish import AXES, Caps, Wish

# key → axis, direction; the axes are joints 1 to 7 in the joint frame.
MOVES = {
    "w": (0, 1.0),
    "s": (0, -1.0),
    "a": (1, 1.0),
    "d": (1, -1.0),
    "r": (2, 1.0),
    "f": (2, -1.0),
    "o": (3, 1.0),
    "u": (3, -1.0),
    "i": (4, 1.0),
    "k": (4, -1.0),
    "j": (5, 1.0),
    "l": (5, -1.0),
    "n": (6, 1.0),
    "m": (6, -1.0),
}
VERBS = {
    "g": "go",
    "h": "hold",
    "x": "reset",
    "q": "quit",
    "ctrl-c": "quit",
    "ctrl-d": "quit",
    "tab": "want",
    "t": "frame",
    "+": "faster",
    "=": "faster",
    "-": "slower",
    "c": "close",
    "v": "open",
}
GRIPS = ("c", "v")
_HOLDING = {*MOVES, *GRIPS, "space"}
# The terminal is asked twenty times a second whether it is there; the operator's link is lost when
# it has said nothing, no answer and no key, for so long: the arm slows down within 250 ms.
SILENT_NS = 200 * NS_PER_MS


class HeldKeyboard:
    """With key releases: a true dead-man, as long as the terminal itself answers."""

    name = "keyboard, keys act while held"
    problem: str | None = None

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._heard_ns = 0

    def heard(self, now_ns: int) -> None:
        self._heard_ns = now_ns

    def press(self, key: Key, now_ns: int, joint_frame: bool) -> None:
        if key.kind == "release":
            self._held.discard(key.name)
        elif key.kind == "press" and key.name in _HOLDING:
            self._held.add(key.name)

    def let_go(self) -> None:
        self._held.clear()

    def wish(self, now_ns: int, joint_frame: bool) -> Wish:
        silent = now_ns - self._heard_ns > SILENT_NS
        self.problem = "the terminal is silent: is the link lost?" if silent else None
        if silent:
            self.let_go()
        axes = [0.0] * AXES
        for axis, sign in (MOVES[name] for name in self._held & MOVES.keys()):
            axes[axis] += sign
        return Wish(tuple(axes), "held" if self._held else "off")

    def verbs(self) -> list[str]:
        return []

    def close(self) -> None:
        self.let_go()


class JogKeyboard:
    """Without key releases: never a dead-man."""

    name = "keyboard, one step of at most 10 mm or 2° per key"
    problem: str | None = None

    def __init__(self, caps: Caps) -> None:
        self._jog = Jog(caps)

    def heard(self, now_ns: int) -> None:
        """A terminal that falls silent presses no keys: nothing to guard."""

    def press(self, key: Key, now_ns: int, joint_frame: bool) -> None:
        if key.name in MOVES:
            self._jog.push(*MOVES[key.name])
        elif key.name in GRIPS:
            self._jog.grip(now_ns)

    def let_go(self) -> None:
        self._jog.clear()

    def wish(self, now_ns: int, joint_frame: bool) -> Wish:
        return self._jog.wish(now_ns, joint_frame)

    def verbs(self) -> list[str]:
        return []

    def close(self) -> None:
        self.let_go()
