"""A gamepad by SDL (the optional package pygame), in SDL's own layout, whatever its maker.

Right shoulder: dead-man. Left stick: forward, sideways; right stick: up, turn; cross: tilt.
A closes, B opens the gripper, X changes want, Y the frame; start: go, back: hold.
"""

import importlib
import importlib.util
import os
from dataclasses import dataclass, field
from typing import Any

from tandem.runtime.errors import DeviceError
from tandem.tools.teleop.keys import Key
from tandem.tools.teleop.wish import Wish, shaped

INSTALL = "gamepads need pygame: pip install pygame"
_FULL = 32767
_VERBS = {"a": "close", "b": "open", "x": "want", "y": "frame", "start": "go", "back": "hold"}
_BUTTONS = (*_VERBS, "rightshoulder", "dpad_up", "dpad_down", "dpad_left", "dpad_right")
_AXES = ("leftx", "lefty", "rightx", "righty")


@dataclass(frozen=True)
class Pad:
    """One look at it: axes −1 … 1 by SDL's names, and the buttons that are down."""

    axes: dict[str, float] = field(default_factory=dict)
    down: frozenset[str] = frozenset()


def wish_of(pad: Pad) -> Wish:
    """What the sticks ask for, while the right shoulder is held."""
    if "rightshoulder" not in pad.down:
        return Wish()
    left_x, left_y, right_x, right_y = (shaped(pad.axes.get(name, 0.0)) for name in _AXES)
    roll = float(("dpad_right" in pad.down) - ("dpad_left" in pad.down))
    pitch = float(("dpad_up" in pad.down) - ("dpad_down" in pad.down))
    # SDL counts right and down; ours: x away from the user, y to the left, z up.
    return Wish((-left_y, -left_x, -right_y, roll, pitch, -right_x, 0.0), "held")


def pressed(before: Pad, now: Pad) -> list[str]:
    """Verbs of the buttons that have just gone down."""
    return [verb for name, verb in _VERBS.items() if name in now.down - before.down]


def installed() -> bool:
    return importlib.util.find_spec("pygame") is not None


def find() -> list[tuple[int, str]]:
    """(number, name) of each gamepad that is plugged in; none without pygame."""
    if not installed():
        return []
    controller = _sdl()
    return [
        (number, str(controller.name_forindex(number)))
        for number in range(controller.get_count())
        if controller.is_controller(number)
    ]


class Gamepad:
    def __init__(self, number: int, name: str) -> None:
        """Raises DeviceError: pygame is not there, or SDL cannot open it."""
        if not installed():
            raise DeviceError(INSTALL)
        self.name = f"{name}, right shoulder is the dead-man"
        self.problem: str | None = None
        self._pygame = importlib.import_module("pygame")
        try:
            self._controller = _sdl().Controller(number)
        except (self._pygame.error, ValueError) as error:
            raise DeviceError(f"gamepad {number} ({name}) cannot be opened: {error}") from error
        self._pad = Pad()
        self._verbs: list[str] = []

    def wish(self, now_ns: int, joint_frame: bool) -> Wish:
        pad = self._look()
        self._verbs += pressed(self._pad, pad)
        self._pad = pad
        return wish_of(pad)

    def press(self, key: Key, now_ns: int, joint_frame: bool) -> None:
        """Its keys are on itself."""

    def heard(self, now_ns: int) -> None:
        """It does not hang on the terminal."""

    def let_go(self) -> None:
        """Its sticks spring back."""

    def verbs(self) -> list[str]:
        verbs, self._verbs = self._verbs, []
        return verbs

    def close(self) -> None:
        self._controller.quit()

    def _look(self) -> Pad:
        self._pygame.event.pump()
        if not self._controller.attached():
            self.problem = f"{self.name.split(',')[0]} was unplugged"
            return Pad()
        axes = {name: self._controller.get_axis(self._code("AXIS", name)) / _FULL for name in _AXES}
        down = {b for b in _BUTTONS if self._controller.get_button(self._code("BUTTON", b))}
        return Pad(axes, frozenset(down))

    def _code(self, kind: str, name: str) -> int:
        return int(getattr(self._pygame, f"CONTROLLER_{kind}_{name.upper()}"))


def _sdl() -> Any:
    """SDL's controllers, without a window: SDL must not ask for a display, nor take Ctrl-C."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS", "1")
    os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")
    pygame = importlib.import_module("pygame")
    controller = importlib.import_module("pygame._sdl2.controller")
    pygame.display.init()
    controller.init()
    return controller
