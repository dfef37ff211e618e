"""What an operator may hold in the hand, and which of it is there."""

from collections.abc import Iterator
from typing import Literal, Protocol

from tandem.runtime.errors import DeviceError
from tandem.tools.teleop import gamepad, spacemouse
from tandem.tools.teleop.keyboard import HeldKeyboard, JogKeyboard
from tandem.tools.teleop.keys import Key
from tandem.tools.teleop.terminal import Terminal
from tandem.tools.teleop.wish import Caps, Wish

Choice = Literal["auto", "keyboard", "gamepad", "spacemouse"]


class Device(Protocol):
    """One hand's device. Every method answers at once."""

    @property
    def name(self) -> str: ...
    @property
    def problem(self) -> str | None:
        """Why nothing comes of it, for people."""

    def wish(self, now_ns: int, joint_frame: bool) -> Wish: ...
    def verbs(self) -> list[str]:
        """What its buttons have asked for since the last call."""

    def press(self, key: Key, now_ns: int, joint_frame: bool) -> None:
        """A key of the terminal."""

    def heard(self, now_ns: int) -> None:
        """The terminal has said something, so it is there."""

    def let_go(self) -> None:
        """Forget what is pressed."""

    def close(self) -> None: ...


def listing() -> Iterator[str]:
    """A line for each device that is there, or why it cannot be used."""
    yield "keyboard    in this terminal; keys act while held if it speaks the Kitty protocol"
    for path, name in spacemouse.find():
        yield f"spacemouse  {name} at {path}"
    if not gamepad.installed():
        yield f"gamepad     {gamepad.INSTALL}"
    for number, name in gamepad.find():
        yield f"gamepad     {name}, number {number}"


def pick(choice: Choice, terminal: Terminal | None, caps: Caps) -> Device:
    """The device that was chosen; "auto": the first that is there, the keyboard last.

    Raises:
        DeviceError: it is not there.
    """
    if choice in ("auto", "spacemouse") and (mice := spacemouse.find()):
        return spacemouse.SpaceMouse.open(*mice[0])
    if choice == "gamepad" and not gamepad.installed():
        raise DeviceError(gamepad.INSTALL)
    if choice in ("auto", "gamepad") and (pads := gamepad.find()):
        return gamepad.Gamepad(*pads[0])
    if choice in ("spacemouse", "gamepad"):
        raise DeviceError(f"no {choice} is plugged in; see tandem teleop --list-devices")
    if terminal is None:
        raise DeviceError("the keyboard needs a terminal; over ssh, call ssh -t")
    return HeldKeyboard() if terminal.kitty else JogKeyboard(caps)
