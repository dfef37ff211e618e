"""Rotations as the policies of this world write them down, and the matrix that we compute with.

A rotation vector is axis times angle. Roll, pitch, yaw turn about the fixed axes x, y, z, in this
order: R = Rz(yaw)·Ry(pitch)·Rx(roll), which is what DROID, Bridge and URDF files mean by them. The
six numbers of `rot6d` are the first two rows of the matrix, as in PyTorch3D and UMI (Zhou et al.
2019, "On the Continuity of Rotation Representations in Neural Networks", has columns).
"""

from math import atan2, cos, hypot, sin, sqrt

import numpy as np
from tandem.runtime.interfaces import Array, Rotation

# How many numbers each notation takes.
WIDTH: dict[Rotation, int] = {"rotvec": 3, "rpy": 3, "quat_xyzw": 4, "quat_wxyz": 4, "rot6d": 6}
_TINY = 1e-12


def to_matrix(numbers: Array, notation: Rotation) -> Array:
    """[3, 3]; a quaternion of any length and rows that are a little skew are made good.

    Raises:
        ValueError: all zeros, or two rows of one direction: that says nothing.
    """
    match notation:
        case "rotvec":
            return from_rotvec(numbers)
        case "rpy":
            return _from_rpy(numbers)
        case "quat_xyzw":
            return from_quaternion(numbers)
        case "quat_wxyz":
            return from_quaternion(np.roll(numbers, -1))
        case "rot6d":
            return _from_rows(numbers)


def to_numbers(matrix: Array, notation: Rotation) -> Array:
    """The inverse of `to_matrix`; quaternions with w ≥ 0."""
    match notation:
        case "rotvec":
            return to_rotvec(matrix)
        case "rpy":
            return _to_rpy(matrix)
        case "quat_xyzw":
            return to_quaternion(matrix)
        case "quat_wxyz":
            return np.roll(to_quaternion(matrix), 1)
        case "rot6d":
            return matrix[:2].reshape(6).copy()


def from_rotvec(rotvec: Array) -> Array:
    x, y, z = rotvec
    angle = sqrt(x * x + y * y + z * z)
    # sin(a)/a and (1 − cos(a))/a², by their series where the quotient would lose its digits.
    s = sin(angle) / angle if angle > 1e-6 else 1 - angle * angle / 6
    c = 2 * (sin(angle / 2) / angle) ** 2 if angle > 1e-6 else 0.5 - angle * angle / 24
    skew = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    matrix: Array = np.eye(3) + s * skew + c * (skew @ skew)
    return matrix


def to_rotvec(matrix: Array) -> Array:
    """[3] rad, at most π long."""
    x, y, z, w = to_quaternion(matrix)
    length = sqrt(x * x + y * y + z * z)
    share = 2 * atan2(length, w) / length if length > _TINY else 2.0
    return np.array((x, y, z)) * share


def from_quaternion(xyzw: Array) -> Array:
    """
    Raises:
        ValueError: a quaternion of length 0.
    """
    length = float(np.linalg.norm(xyzw))
    if length < _TINY:
        raise ValueError("a quaternion of length 0 is no rotation")
    x, y, z, w = np.asarray(xyzw) / length
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
    )


def to_quaternion(matrix: Array) -> Array:
    """[4] xyzw, w ≥ 0. Of the four ways the one whose divisor is largest (Shepperd 1978)."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    rows = (
        (1 + a - e - i, b + d, c + g, h - f),
        (b + d, 1 - a + e - i, f + h, c - g),
        (c + g, f + h, 1 - a - e + i, d - b),
        (h - f, c - g, d - b, 1 + a + e + i),
    )
    best = max(range(4), key=lambda k: rows[k][k])
    xyzw = np.array(rows[best]) / (2 * sqrt(max(rows[best][best], _TINY)))
    return -xyzw if xyzw[3] < 0 else xyzw


def pose(position_m: Array, matrix: Array) -> Array:
    """[4, 4]."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = matrix, position_m
    return made


def inverse(of: Array) -> Array:
    """[4, 4] of a pose [4, 4]."""
    turned = of[:3, :3].T
    return pose(-turned @ of[:3, 3], turned)


def _from_rpy(rpy: Array) -> Array:
    (sr, sp, sy), (cr, cp, cy) = map(sin, rpy), map(cos, rpy)
    return np.array(
        (
            (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
            (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
            (-sp, cp * sr, cp * cr),
        )
    )


def _to_rpy(matrix: Array) -> Array:
    """Looking straight up or down, roll and yaw are one turn: it is given to yaw."""
    level = hypot(matrix[0, 0], matrix[1, 0])
    pitch = atan2(-matrix[2, 0], level)
    if level < 1e-9:
        return np.array((0.0, pitch, atan2(-matrix[0, 1], matrix[1, 1])))
    roll, yaw = atan2(matrix[2, 1], matrix[2, 2]), atan2(matrix[1, 0], matrix[0, 0])
    return np.array((roll, pitch, yaw))


def _from_rows(numbers: Array) -> Array:
    first, second = np.asarray(numbers, float).reshape(2, 3)
    first = _unit(first)
    second = _unit(second - (first @ second) * first)
    return np.array((first, second, np.cross(first, second)))


def _unit(vector: Array) -> Array:
    length = float(np.linalg.norm(vector))
    if length < _TINY:
        raise ValueError("two rows of one direction are no rotation")
    unit: Array = vector / length
    return unit
