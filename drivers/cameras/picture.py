"""A picture into a slot of the ring: colours and size put right, in one pass if possible.

Counted in passes over the picture after the vendor's decoder: one where the size is right (a copy,
or the exchange of red and blue, straight into the slot), and where it is not, one that scales into
the slot, and for blue-green-red one more over the slot, which is the smaller one.
"""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

Array = np.ndarray
Fit = Literal["crop", "pad", "stretch"]
Order = Literal["rgb", "bgr"]


def put(image: Array, out: Array, fit: Fit, order: Order) -> None:
    """`image` [h, w, 3] uint8 of any size into `out` [H, W, 3] uint8 RGB."""
    seen, shown = windows(image.shape[:2], out.shape[:2], fit)
    source, target = image[seen], out[shown]
    if target.shape != out.shape:
        out[...] = 0
    if source.shape == target.shape:
        if order == "bgr":
            _into(target, lambda dst: cv2.cvtColor(source, cv2.COLOR_BGR2RGB, dst))
        else:
            np.copyto(target, source)
        return
    _into(target, lambda dst: _scale(source, dst, _method(source, dst)))
    if order == "bgr":
        _into(target, lambda dst: cv2.cvtColor(dst, cv2.COLOR_BGR2RGB, dst))


def put_depth(depth: Array, out: Array, fit: Fit, to_mm: float) -> None:
    """`depth` [h, w] uint16 into `out` [H, W] uint16 mm: the nearest one, never a mean of two."""
    seen, shown = windows(depth.shape, out.shape, fit)
    source, target = depth[seen], out[shown]
    if target.shape != out.shape:
        out[...] = 0
    if source.shape != target.shape:
        _into(target, lambda dst: _scale(source, dst, cv2.INTER_NEAREST))
    else:
        np.copyto(target, source)
    if abs(to_mm - 1) > 1e-6:
        scaled = np.minimum(np.rint(target * to_mm), np.iinfo(np.uint16).max)
        np.copyto(target, scaled, casting="unsafe")


def windows(
    given: tuple[int, ...], wanted: tuple[int, ...], fit: Fit
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Which part of a picture [h, w] is shown, and in which part of the slot [H, W]."""
    (h, w), (height, width) = given, wanted
    whole_in, whole_out = (slice(0, h), slice(0, w)), (slice(0, height), slice(0, width))
    if fit == "stretch" or h * width == w * height:
        return whole_in, whole_out
    if fit == "crop":
        scale = max(height / h, width / w)
        return (_middle(h, height / scale), _middle(w, width / scale)), whole_out
    scale = min(height / h, width / w)
    return whole_in, (_middle(height, h * scale), _middle(width, w * scale))


def _middle(length: int, part: float) -> slice:
    size = min(max(round(part), 1), length)
    first = (length - size) // 2
    return slice(first, first + size)


def _method(source: Array, target: Array) -> int:
    """Means over what falls together, or a picture that is made smaller is full of steps."""
    return cv2.INTER_AREA if target.shape[0] < source.shape[0] else cv2.INTER_LINEAR


def _scale(source: Array, target: Array, method: int) -> Array:
    height, width = target.shape[:2]
    return cv2.resize(source, (width, height), target, interpolation=method)


def _into(target: Array, made: Callable[[Array], Array]) -> None:
    """OpenCV writes into an array whose rows lie one behind the other, and elsewhere otherwise."""
    result = made(target)
    if result is not target and not np.shares_memory(result, target):
        np.copyto(target, result)
