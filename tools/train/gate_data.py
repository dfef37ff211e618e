"""Labels for the recache gate: what has changed between two frames, and whether it can be seen.

L1: the light. L2: a cube has appeared, is gone, or rests more than 1.5 cm from where it was; a
drawer has been opened or shut by as much. A cube in the hand is no change: it is the dynamic
tokens' business. Changes that nobody could see, because the arm hides them, are left out of
training and judgement.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.stream import model_features
from tandem.tools.train.s2_camera import pixels, projection
from tandem.tools.train.s2_data import Clips, Demos
from torch import Tensor

Array = np.ndarray
CHANGE_M = 0.015
_UNSURE_M = 0.005  # between the two, neither a change nor none
_IN_AIR_M = 0.045  # higher than any cube rests: it is in the hand
_LIGHT, _LIGHT_UNSURE = 0.10, 0.03  # relative brightness
_HUES = np.array(
    [(161, 19, 17), (19, 120, 35), (19, 53, 161), (183, 159, 16), (97, 32, 127), (181, 86, 11)],
    np.float32,
)
_DRAWER_PX = 12  # that show where the drawer is; fewer show nothing, as with cubes
_SAME_HUE = 0.97
_TABLE_HUE = 0.997
_BLOCK = 4  # pixels
_AROUND = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), -1).reshape(9, 2)


@dataclass
class Frames:
    """Everything the gate's labels need of N frames, computed once."""

    features: Tensor  # [N, 64, width] float16
    cubes: Array  # [N, 6, 3], NaN absent
    in_hand: Array  # [N, 6] bool
    visible: Array  # [N, 6] bool: the cube is there and can be seen
    pixels: Array  # [N, 6, 2] where the cubes are in the picture, NaN absent
    table: Array  # [N, 32, 32] bool: bare table there, in blocks of 4 pixels
    light: Array  # [N, 3] brightness of the table's near edge
    drawer_m: Array  # [N] how far it stands open, 0 without one
    drawer_px: Array  # [N] pixels that show it

    def __len__(self) -> int:
        return len(self.features)


@dataclass
class Changes:
    """Of pairs [B]: label and weight per level [B, 2]."""

    label: Array
    weight: Array


def describe(model: S2Model, images: Array, rows: Array, cubes: Array, held: Array) -> Frames:
    """images [M, 128, 128, 3] of which `rows` [N] are meant; cubes [N, 6, 3], held [N]."""
    in_hand = (held[:, None] == np.arange(6)) | (np.nan_to_num(cubes[..., 2]) > _IN_AIR_M)
    parts, visible, table, light = [], [], [], []
    where = pixels(projection(), cubes)
    for start in range(0, len(rows), 256):
        chunk = images[rows[start : start + 256]]
        parts.append(model_features(model, chunk).half())
        visible.append(visible_cubes(chunk, where[start : start + 256]))
        light.append(np.median(chunk[:, 122:].reshape(len(chunk), -1, 3), axis=1))
        table.append(_bare_table(chunk, light[-1]))
    return Frames(
        torch.cat(parts),
        cubes,
        in_hand,
        np.concatenate(visible),
        where,
        np.concatenate(table),
        np.concatenate(light),
        drawer_m=np.zeros(len(rows)),
        drawer_px=np.zeros(len(rows)),
    )


def _bare_table(images: Array, light: Array) -> Array:
    """[N, 32, 32]: most of the block has the table's hue, which the near edge gives."""
    tinted = images / np.maximum(light, 1)[:, None, None].astype(np.float32)
    alike = tinted.sum(-1) / (np.linalg.norm(tinted, axis=-1) + 1e-3) > _TABLE_HUE * np.sqrt(3)
    count, side = len(images), images.shape[1] // _BLOCK
    return alike.reshape(count, side, _BLOCK, side, _BLOCK).mean((2, 4)) > 0.5


def _cleared(now: Frames, j: Array, pixel: Array) -> Array:
    """[B, 6]: around `pixel` [B, 6, 2], where cubes stood, frames `j` show bare table."""
    block = np.floor(np.nan_to_num(pixel, nan=-99) / _BLOCK).astype(int)[..., ::-1]
    around = block[:, :, None] + _AROUND
    side = now.table.shape[1]
    inside = ((around >= 0) & (around < side)).all(-1)
    around = around.clip(0, side - 1)
    bare = now.table[j[:, None, None], around[..., 0], around[..., 1]] & inside
    return bare.mean(-1) > 0.5


def visible_cubes(images: Array, pixel: Array) -> Array:
    """[N, 6]: a quarter of the 7×7 pixels around where the cube must be have its hue."""
    offset = np.arange(-3, 4)
    centre = np.nan_to_num(pixel, nan=-99).astype(int)
    column = centre[..., 0, None, None] + offset[None, :]
    row = centre[..., 1, None, None] + offset[:, None]
    inside = (row >= 0) & (row < images.shape[1]) & (column >= 0) & (column < images.shape[2])
    n = np.arange(len(images))[:, None, None, None]
    patch = images[n, np.clip(row, 0, 127), np.clip(column, 0, 127)].astype(np.float32)
    patch /= np.linalg.norm(patch, axis=-1, keepdims=True) + 1e-3
    hues = _HUES / np.linalg.norm(_HUES, axis=-1, keepdims=True)
    alike = (patch * hues[:, None, None]).sum(-1) > _SAME_HUE
    return (alike & inside).mean((2, 3)) > 0.25


def changes(then: Frames, i: Array, now: Frames, j: Array) -> Changes:
    """Labels for frames `i` of `then` against frames `j` of `now`."""
    before, after = then.cubes[i], now.cubes[j]
    here, there = np.isfinite(before[..., 0]), np.isfinite(after[..., 0])
    distance = np.linalg.norm(np.nan_to_num(after - before), axis=-1)
    held = now.in_hand[j]
    moved = here & there & ~held
    sure = ((here != there) & ~held) | (moved & (distance > CHANGE_M))
    unsure = moved & (distance > _UNSURE_M) & ~sure
    gone = _cleared(now, j, then.pixels[i])  # seen to have left its place
    seen = np.where(here, then.visible[i], True) & (np.where(there, now.visible[j], False) | gone)
    evident = (sure & seen).any(1)
    ratio = np.abs(now.light[j] / np.maximum(then.light[i], 1) - 1).max(1)
    lit = ratio > _LIGHT
    slid = np.abs(now.drawer_m[j] - then.drawer_m[i]) > CHANGE_M
    evident |= slid & (np.minimum(then.drawer_px[i], now.drawer_px[j]) >= _DRAWER_PX)
    clear2 = evident | ~((sure | unsure).any(1) | slid)
    clear1 = lit | (ratio < _LIGHT_UNSURE)
    label = np.stack([lit, lit | evident], 1)
    weight = np.stack([clear1, clear1 & (lit | clear2)], 1)
    return Changes(label.astype(np.float32), weight.astype(np.float32))


def joined(parts: Sequence[Frames]) -> Frames:
    """One after the other."""
    columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Frames)}
    features = torch.cat(columns.pop("features"))
    return Frames(features, **{name: np.concatenate(each) for name, each in columns.items()})


def clip_frames(model: S2Model, clips: Clips, count: int) -> Frames:
    """The first `count` clips' frames, five in a row each."""
    images = clips.images[:count].reshape(-1, *clips.images.shape[2:])
    cubes, held = clips.cubes[:count].reshape(-1, 6, 3), clips.held[:count].reshape(-1)
    frames = describe(model, images, np.arange(len(images)), cubes, held)
    drawer_m, drawer_px = (a[:count].ravel() for a in (clips.drawer_m, clips.drawer_px))
    return replace(frames, drawer_m=drawer_m, drawer_px=drawer_px)


@dataclass
class DemoFrames:
    """Frames of demonstrations as System 2 sees them, every second one."""

    frames: Frames
    start: Array  # [N] index of the first frame of the same episode
    row: Array  # [N] row in the demonstrations' arrays


def demo_frames(model: S2Model, demos: Demos, episodes: Array, stride: int = 2) -> DemoFrames:
    seen = [demos.starts[e] + np.arange(0, demos.counts[e], stride) for e in episodes]
    lengths = np.array([len(rows) for rows in seen])
    row = np.concatenate(seen)
    frames = describe(model, demos.images, row, demos.cubes[row], demos.held[row])
    return DemoFrames(frames, np.repeat(np.cumsum(lengths) - lengths, lengths), row)
