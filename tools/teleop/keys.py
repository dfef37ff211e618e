"""Bytes of a terminal to key events: the old encoding, and the Kitty keyboard protocol.

Only the latter tells when a key is let go (https://sw.kovidgoyal.net/kitty/keyboard-protocol).
"""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["press", "repeat", "release"]
_SEQUENCE = re.compile(rb"\x1b\[([<=>?]?)([0-9:;]*)([@-~])|\x1bO([A-Za-z])")
_OPEN = re.compile(rb"\x1b(\[[<=>?]?[0-9:;]*|O)?$")
_KINDS: dict[int, Kind] = {1: "press", 2: "repeat", 3: "release"}
_ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
_NAMES = {27: "escape", 13: "enter", 9: "tab", 127: "backspace", 32: "space"}
_CONTROL = 4  # a bit of Kitty's modifiers
_LONGEST = 64  # no sequence that we know is longer


@dataclass(frozen=True, slots=True)
class Key:
    """`name`: a lower-case character or a word, "ctrl-c" with control held."""

    name: str
    kind: Kind = "press"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the terminal itself says: "kitty", "attributes", "focus_in", "focus_out"."""

    name: str


class Parser:
    """Feed it whatever arrives; a sequence may come in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Key | Reply]:
        data, self._rest = self._rest + data, b""
        found: list[Key | Reply] = []
        while data:
            if _OPEN.match(data) and len(data) < _LONGEST:
                self._rest = data
                break
            match = _SEQUENCE.match(data)
            if match:
                found += _understood(match)
                data = data[match.end() :]
            else:
                found += _plain(data[0])
                data = data[1:]
        return found


def _understood(match: "re.Match[bytes]") -> list[Key | Reply]:
    private, numbers, final, old = (part.decode() if part else "" for part in match.groups())
    if old:
        return [Key(_ARROWS[old])] if old in _ARROWS else []
    if private:
        reply = {"u": "kitty", "c": "attributes"}.get(final)
        return [Reply(reply)] if reply and private == "?" else []
    if final in "IO" and not numbers:
        return [Reply("focus_in" if final == "I" else "focus_out")]
    code, modifiers, kind = _fields(numbers)
    name = _ARROWS.get(final) or (_named(code) if final == "u" else None)
    if name is None or kind not in _KINDS:
        return []
    control = (modifiers - 1) & _CONTROL
    return [Key(f"ctrl-{name}" if control else name, _KINDS[kind])]


def _fields(numbers: str) -> tuple[int, int, int]:
    """Key code, modifiers + 1, kind of event."""
    parts = [[int(n) if n else 1 for n in part.split(":")] for part in numbers.split(";")]
    code = parts[0][0]
    modifiers = parts[1] if len(parts) > 1 else [1]
    return code, modifiers[0], modifiers[1] if len(modifiers) > 1 else 1


def _named(code: int) -> str | None:
    if code in _NAMES:
        return _NAMES[code]
    return chr(code).lower() if 32 < code < 127 else None


def _plain(byte: int) -> list[Key | Reply]:
    if byte in _NAMES:
        return [Key(_NAMES[byte])]
    if 0 < byte < 27:
        return [Key(f"ctrl-{chr(byte + 96)}")]
    name = _named(byte)
    return [Key(name)] if name else []
