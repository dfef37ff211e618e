"""What the operator sees: a few lines that are drawn over themselves. Pure, but for `Screen`."""

import shutil
from dataclasses import dataclass

from tandem.runtime.messages import RobotState
from tandem.tools.teleop.terminal import Terminal
from tandem.tools.teleop.wish import Controls, Wish

_REVERSE, _BOLD, _PLAIN = "\x1b[7m", "\x1b[1m", "\x1b[0m"
_ERASE = "\x1b[2K"
_MOVES = {
    "joint": "w/s a/d r/f joints 1 2 3   o/u i/k j/l n/m joints 4 5 6 7",
    "base": "w/s forward, back   a/d left, right   r/f up, down   o/u i/k j/l turn",
}
_HELP = "c/v close, open   t frame   tab standby or drive   + - speed   space dead-man"
_VERBS = "g go: back to the policy   h hold   x reset a fault   q leave"


@dataclass(frozen=True)
class View:
    """Everything that is shown."""

    robot: str
    lease: str
    device: str
    controls: Controls
    wish: Wish
    state: RobotState
    call: str | None = None  # somebody is asked for
    problem: str | None = None  # ours: the device, the link, a hand that must let go
    answer: str = ""  # to the last request


def lines(view: View) -> list[str]:
    """Most urgent last, so that it stays above the cursor."""
    controls, state = view.controls, view.state
    hand = {"off": "nobody presses", "jog": "one step", "held": "held"}[view.wish.hand]
    mm_s, rad_s = controls.caps.m_s * 1e3 * controls.speed, controls.caps.rad_s * controls.speed
    grip = "open" if state.gripper_cmd > 0.5 else "closed"
    because = f" ({state.fault or state.holding_for})" if state.fault or state.holding_for else ""
    return [
        f"{view.robot} · lease {view.lease} · {view.device}",
        _MOVES["joint" if controls.frame == "joint" else "base"],
        _HELP,
        _VERBS,
        f"want {controls.want} · dead-man {hand} · {_fallback(view)}",
        f"frame {controls.frame} · at most {mm_s:.0f} mm/s, {rad_s:.2f} rad/s · "
        f"gripper {grip}, {state.width_m * 1e3:.0f} mm",
        view.answer,
        f"{_BOLD}{state.mode.upper()}{_PLAIN}{because}",
        _reversed(view.problem or view.call),
    ]


def _fallback(view: View) -> str:
    if view.state.mode == "teleop":
        return "you drive"
    if view.state.mode != "policy":
        return "the arm holds"
    armed = view.wish.hand == "held"
    return "if the policy is lost, you have the arm" if armed else "the policy drives alone"


def _reversed(text: str | None) -> str:
    return f"{_REVERSE} {text} {_PLAIN}" if text else ""


class Screen:
    """Draws over what it drew before."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._drawn = 0

    def draw(self, view: View, bell: bool = False) -> None:
        columns = max(shutil.get_terminal_size().columns - 1, 1)
        shown = [_cut(line, columns) for line in lines(view)]
        up = f"\r\x1b[{self._drawn}A" if self._drawn else "\r"
        text = up + "".join(f"{_ERASE}{line}\r\n" for line in shown) + ("\a" if bell else "")
        self._drawn = len(shown)
        self._terminal.write(text.encode())


def _cut(line: str, columns: int) -> str:
    """At most so many visible characters."""
    bare = line
    for code in (_REVERSE, _BOLD, _PLAIN):
        bare = bare.replace(code, "")
    if len(bare) <= columns:
        return line
    style = _REVERSE if line.startswith(_REVERSE) else ""
    return f"{style}{bare[:columns]}{_PLAIN}"
