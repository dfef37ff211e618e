"""The action spaces that policies are trained in: one table, by name.

Each row says what a policy's numbers mean; `ActionSpace` turns them into the joint positions that
System 1 publishes. Where two data sets call different things by one name, the row is called after
the data set. Numbers are those that come out of the policy after its own statistics are undone.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from math import pi
from typing import Any

from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import ActionSpec, GripperSpec
from tandem.runtime.rotations import WIDTH

_CLOSED_AT_1 = GripperSpec(open_at=0.0, closed_at=1.0)
_DEGREE = pi / 180

SPACES: dict[str, ActionSpec] = {
    # Targets in radians, gripper 0 closed … 1 open: what the executor is given.
    "joint_position": ActionSpec(()),
    # Offsets from where the arm was commanded to be when the chunk was planned (openpi's deltas).
    "joint_delta": ActionSpec((), kind="joint_delta", since="state"),
    # Offsets from the step before.
    "joint_step": ActionSpec((), kind="joint_delta", since="step"),
    "tool_pose": ActionSpec((), kind="tool_pose", rotation="quat_xyzw"),
    "tool_delta": ActionSpec((), kind="tool_delta", frame="base"),
    "tool_delta_in_tool": ActionSpec((), kind="tool_delta", frame="tool"),
    # Bridge V2, and OpenVLA trained on it: metres and roll, pitch, yaw along the axes of the base,
    # once per step; the gripper says open (1) or closed (0).
    "openvla": ActionSpec(
        (), kind="tool_delta", rotation="rpy", gripper=GripperSpec(1.0, 0.0, binary=True)
    ),
    # DROID, 15 Hz. Its gripper is 1 where it is closed. "Velocities" are shares of the most that
    # one step may move: 0.2 rad, or 75 mm and 0.15 rad. (There, a step beyond is shortened by its
    # norms, and in LIBERO cut column by column; here always so that it keeps its direction.)
    "droid_joint_position": ActionSpec((), gripper=_CLOSED_AT_1),
    "droid_joint_velocity": ActionSpec(
        (), kind="joint_delta", unit=(0.2,), bound=1.0, gripper=_CLOSED_AT_1
    ),
    "droid_cartesian_position": ActionSpec(
        (), kind="tool_pose", rotation="rpy", gripper=_CLOSED_AT_1
    ),
    "droid_cartesian_velocity": ActionSpec(
        (),
        kind="tool_delta",
        rotation="rpy",
        unit=(0.075, 0.075, 0.075, 0.15, 0.15, 0.15),
        bound=1.0,
        gripper=_CLOSED_AT_1,
    ),
    # robosuite's OSC_POSE as LIBERO has it: shares of 50 mm and 0.5 rad; −1 opens, +1 closes.
    "libero": ActionSpec(
        (),
        kind="tool_delta",
        unit=(0.05, 0.05, 0.05, 0.5, 0.5, 0.5),
        bound=1.0,
        gripper=GripperSpec(open_at=-1.0, closed_at=1.0, binary=True),
    ),
    # OpenVLA trained on LIBERO says 1 for open.
    "openvla_libero": ActionSpec(
        (),
        kind="tool_delta",
        unit=(0.05, 0.05, 0.05, 0.5, 0.5, 0.5),
        bound=1.0,
        gripper=GripperSpec(1.0, 0.0, binary=True),
    ),
    # UMI: poses relative to the tool when the chunk was planned; the gripper as its width in m.
    "umi": ActionSpec(
        (),
        kind="tool_delta",
        frame="tool",
        rotation="rot6d",
        since="state",
        gripper=GripperSpec(open_at=0.08, closed_at=0.0),
    ),
    # LeRobot's SO-100 and SO-101 with `use_degrees`: degrees from mid-range, gripper in percent.
    "lerobot_degrees": ActionSpec((), unit=(_DEGREE,), gripper=GripperSpec(100.0, 0.0)),
}

_OPTIONS = {field.name for field in fields(ActionSpec)} - {"names"}


def named(space: str | Mapping[str, Any], joint_names: Sequence[str]) -> ActionSpec:
    """The action space of an arm: a name of the table, or a map that begins with one
    (`{like: openvla, frame: tool}`).

    Raises:
        ConfigError: no such name or key, or values that no action space has.
    """
    given: dict[str, Any] = {"like": space} if isinstance(space, str) else dict(space)
    row = _row(str(given.pop("like", "joint_position")))
    for key in given:
        if key not in _OPTIONS:
            raise ConfigError(f"action: no key {key!r}; {_hint(key, _OPTIONS)}")
    gripper = given.get("gripper")
    if isinstance(gripper, Mapping):
        try:
            given["gripper"] = replace(row.gripper, **gripper)
        except TypeError as error:
            raise ConfigError(
                f"action: gripper has open_at, closed_at and binary, not {sorted(gripper)}"
            ) from error
    for key in ("unit", "tool", "base"):
        if isinstance(given.get(key), list):
            given[key] = tuple(given[key])
    if isinstance(given.get("unit"), int | float):
        given["unit"] = (given["unit"],)
    row = replace(row, **given)
    return checked(replace(row, names=(*columns(row, joint_names), "gripper")), joint_names)


def columns(spec: ActionSpec, joint_names: Sequence[str]) -> tuple[str, ...]:
    """Names of an action's dimensions but for the gripper's."""
    if spec.kind.startswith("joint"):
        return tuple(joint_names)
    if spec.rotation not in WIDTH:
        raise ConfigError(f"action: rotation {spec.rotation!r}; {_hint(spec.rotation, WIDTH)}")
    return ("x", "y", "z", *(f"{spec.rotation}{i}" for i in range(WIDTH[spec.rotation])))


def checked(spec: ActionSpec, joint_names: Sequence[str]) -> ActionSpec:
    """
    Raises:
        ConfigError: the parts of an action space do not fit together, or not this arm.
    """
    kinds = ("joint_position", "joint_delta", "tool_pose", "tool_delta")
    if spec.kind not in kinds:
        raise ConfigError(f"action: kind {spec.kind!r}; {_hint(spec.kind, kinds)}")
    wide = len(columns(spec, joint_names))
    if len(spec.names) != wide + 1:
        raise ConfigError(
            f"action: {spec.kind} on this arm has {wide} columns and the gripper's, but "
            f"{len(spec.names)} names: {', '.join(spec.names)}"
        )
    if len(spec.unit) not in (0, 1, wide):
        raise ConfigError(f"action: unit has {len(spec.unit)} numbers; give 1 or {wide}")
    if spec.frame not in ("base", "tool") or spec.since not in ("state", "step"):
        raise ConfigError("action: frame is base or tool, since is state or step")
    if spec.gripper.open_at == spec.gripper.closed_at:
        raise ConfigError("action: gripper.open_at and gripper.closed_at are the same")
    for name in ("tool", "base"):
        given = getattr(spec, name)
        if given is not None and len(given) != 7:
            raise ConfigError(f"action: {name} is x, y, z in m and a quaternion xyzw, 7 numbers")
    return spec


def _row(name: str) -> ActionSpec:
    if name not in SPACES:
        raise ConfigError(f"action: no space is called {name!r}; {_hint(name, SPACES)}")
    return SPACES[name]


def _hint(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
