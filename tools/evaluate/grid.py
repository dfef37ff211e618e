"""One picture of what went wrong: the last frame of each failed episode, its instruction below it.

Percentages hide why; a person sees in a second that the orange cube was taken for the red one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path

import cv2
import numpy as np
from tandem.runtime.errors import TandemError

Array = np.ndarray
_TILE_PX = 256
_LINE_PX = 18
_LINES = 3
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SCALE = 0.42
_INK, _PAPER = (30, 30, 30), 245


@dataclass(frozen=True)
class Tile:
    """One picture [H, W, 3] uint8 RGB, with what to say about it."""

    image: Array
    caption: str


def write_grid(path: Path, tiles: Sequence[Tile], title: str) -> None:
    """Write the tiles as a PNG or JPEG, in reading order.

    Raises:
        TandemError: the folder is missing or not writable, or the ending names no picture format.
    """
    picture = compose(tiles, title)
    try:
        written = cv2.imwrite(str(path), picture[..., ::-1])
    except cv2.error as error:
        raise TandemError(f"{path}: the name must end in .png or .jpg ({error.err})") from error
    if not written:
        raise TandemError(f"cannot write {path}; is its folder there and writable?")


def compose(tiles: Sequence[Tile], title: str) -> Array:
    """The picture itself, [H, W, 3] uint8 RGB; with no tiles it is the title alone."""
    columns = max(3, ceil(sqrt(len(tiles)))) if tiles else 3
    cells = [_cell(tile) for tile in tiles]
    empty = _sheet(_TILE_PX + _LINES * _LINE_PX, _TILE_PX)
    rows = []
    for first in range(0, len(cells), columns):
        row = cells[first : first + columns]
        rows.append(np.hstack(row + [empty] * (columns - len(row))))
    head = _sheet(_LINE_PX + 14, columns * _TILE_PX)
    _write(head, _LINE_PX, title)
    return np.vstack([head, *rows])


def _cell(tile: Tile) -> Array:
    image = cv2.resize(tile.image, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_LINEAR)
    foot = _sheet(_LINES * _LINE_PX, _TILE_PX)
    for number, line in enumerate(wrap(tile.caption, _TILE_PX - 8)[:_LINES]):
        _write(foot, (number + 1) * _LINE_PX - 5, line)
    return np.vstack([image, foot])


def wrap(text: str, width_px: int) -> list[str]:
    """Break a text into lines at most this wide, between words where it can."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width_px(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _width_px(text: str) -> int:
    return int(cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0])


def _sheet(height: int, width: int) -> Array:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _write(sheet: Array, baseline_px: int, text: str) -> None:
    cv2.putText(sheet, text, (4, baseline_px), _FONT, _SCALE, _INK, 1, cv2.LINE_AA)
