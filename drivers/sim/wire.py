"""What the simulator's processes share, and where: one place names every ring and its contents."""

import os
import struct
from enum import IntEnum
from pathlib import Path

import numpy as np
from tandem.runtime.images import SharedRing
from tandem.runtime.interfaces import ArmState, Knot

DOF = 7
STATUS = ("idle", "moving", "reflex", "user_stop")
SERVER = "sim"  # name of the plant's request server
_TEXT_BYTES = 160

STATE = np.dtype(
    [
        ("q", "<f8", DOF),
        ("dq", "<f8", DOF),
        ("tau", "<f8", DOF),
        ("q_d", "<f8", DOF),
        ("dq_d", "<f8", DOF),
        ("ddq_d", "<f8", DOF),
        ("width_m", "<f8"),
        ("underruns", "<i8"),
        ("status", "<i4"),
        ("coasting", "<i4"),
        ("error", f"S{_TEXT_BYTES}"),
    ]
)
_VECTORS = 6
# What follows the vectors in STATE: one unpacking costs a tenth of five accesses to fields.
_REST = struct.Struct(f"<dqii{_TEXT_BYTES}s")
_REST_AT = STATE.itemsize - _REST.size
KNOT = np.dtype(
    [
        ("t_ns", "<i8"),
        ("q", "<f8", DOF),
        ("dq", "<f8", DOF),
        ("ddq", "<f8", DOF),
        ("gripper", "<f8"),
        ("underruns", "<i8"),
        ("wish", "<i4"),
        ("pid", "<i4"),
    ]
)


class Wish(IntEnum):
    """What a record of the ring of knots asks of the arm."""

    FOLLOW = 0  # this set-point
    BRAKE = 1  # by itself, now
    RECOVER = 2  # from a reflex


def scene_dtype(nq: int) -> np.dtype:
    """Everything that a camera needs of the scene."""
    return np.dtype([("qpos", "<f8", nq), ("light", "<f8", 3)])


def state_ring(runtime_dir: Path) -> SharedRing:
    return SharedRing(runtime_dir / "arm_state", (), STATE, slots=64)


def knot_ring(runtime_dir: Path) -> SharedRing:
    """Stamped with the time of sending. Holds a second of 1 kHz, so a stalled plant misses none."""
    return SharedRing(runtime_dir / "knots", (), KNOT, slots=1024)


def scene_ring(runtime_dir: Path, nq: int) -> SharedRing:
    return SharedRing(runtime_dir / "scene", (), scene_dtype(nq), slots=16)


def black_box(runtime_dir: Path) -> Path:
    return runtime_dir / "blackbox"


def pack_state(out: np.ndarray, state: ArmState) -> None:
    for name in ("q", "dq", "tau", "q_d", "dq_d", "ddq_d", "width_m", "underruns", "coasting"):
        out[name] = getattr(state, name)
    out["status"] = STATUS.index(state.status)
    out["error"] = (state.error or "").encode()[:_TEXT_BYTES]


def unpack_state(t_ns: int, row: np.ndarray) -> ArmState:
    """The vectors of the result are views of `row`: give it a copy of the ring's record."""
    vectors = np.frombuffer(row, np.float64, _VECTORS * DOF).reshape(_VECTORS, DOF)
    q, dq, tau, q_d, dq_d, ddq_d = vectors
    width_m, underruns, status, coasting, error = _REST.unpack_from(row.data, _REST_AT)
    return ArmState(
        t_ns=t_ns,
        q=q,
        dq=dq,
        tau=tau,
        q_d=q_d,
        dq_d=dq_d,
        ddq_d=ddq_d,
        width_m=width_m,
        status=STATUS[status],  # type: ignore[arg-type]
        error=error.rstrip(b"\0").decode(errors="replace") or None,
        underruns=underruns,
        coasting=bool(coasting),
    )


def pack_knot(out: np.ndarray, knot: Knot) -> None:
    wish, pid = int(Wish.FOLLOW), os.getpid()
    out[...] = (knot.t_ns, knot.q, knot.dq, knot.ddq, knot.gripper, knot.underruns, wish, pid)


def pack_wish(out: np.ndarray, wish: Wish) -> None:
    out["wish"] = wish
    out["pid"] = os.getpid()


def unpack_knot(row: np.ndarray) -> Knot | Wish:
    """The set-point, or a wish that is none."""
    if row["wish"] != Wish.FOLLOW:
        return Wish(int(row["wish"]))
    return Knot(
        t_ns=int(row["t_ns"]),
        q=row["q"],
        dq=row["dq"],
        ddq=row["ddq"],
        gripper=float(row["gripper"]),
        underruns=int(row["underruns"]),
    )
