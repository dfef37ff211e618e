"""What a test, an evaluation or a person may ask of the simulated cell, as JSON: {"do": …}.

- reset {seed, cubes?} · lay_out {cubes: {colour: [x, y, yaw]}, q?, light?} · teleport {q, gripper?}
- disturb {kind, colour?, to_m?, velocity_m_s?, light?, places?} (see disturb.py)
- truth · counters
- interrupt {status: reflex | user_stop, error?} · recover
"""

import difflib
import json
from typing import Any

import numpy as np
from tandem.drivers.sim import panda, scene
from tandem.drivers.sim.disturb import disturb
from tandem.drivers.sim.plant import Plant
from tandem.runtime.errors import RefusedError
from tandem.runtime.messages import Reply, Request

_DOES = (
    "reset", "lay_out", "teleport", "disturb", "truth", "counters", "interrupt", "recover"
)  # fmt: skip


def answer(plant: Plant, request: Request) -> Reply:
    """Do what is asked; whatever is wrong with it is said in the reply, never raised."""
    try:
        data = _do(plant, _parse(request))
        return Reply(ok=True, data=data, t_ns=plant.t_ns, valid=True)
    except (RefusedError, ValueError, TypeError, KeyError, IndexError) as error:
        text = f"the simulator cannot do that: {error}"
        return Reply(ok=False, text=text, t_ns=plant.t_ns, valid=True)


def _parse(request: Request) -> dict[str, Any]:
    if request.verb == "ping":
        return {"do": "counters"}
    if request.verb != "sim":
        raise RefusedError(f'{request.verb!r} is not for the simulator; send "sim"')
    asked = json.loads(request.text)
    if not isinstance(asked, dict) or "do" not in asked:
        raise RefusedError('the text must be a JSON object with a key "do"')
    return asked


def _do(plant: Plant, asked: dict[str, Any]) -> dict[str, Any]:
    what = asked.pop("do")
    match what:
        case "reset":
            return _described(
                plant.reset(int(asked.pop("seed")), _number(asked.pop("cubes", None)))
            )
        case "lay_out":
            layout = _layout(plant, **asked)
            plant.lay_out(layout)
            return _described(layout)
        case "teleport":
            plant.teleport(_joints(plant, asked["q"]), float(asked.get("gripper", 1.0)))
            return {}
        case "disturb":
            return disturb(plant.world, **asked)
        case "truth":
            return {**plant.world.truth(), "t_ns": plant.t_ns, "q": plant.world.q.tolist()}
        case "counters":
            return plant.counters()
        case "interrupt":
            return _interrupt(plant, **asked)
        case "recover":
            plant.recover()
            return {}
    near = difflib.get_close_matches(str(what), _DOES, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise RefusedError(f"no such thing to do: {what!r}{hint} There are {', '.join(_DOES)}")


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _interrupt(plant: Plant, status: str, error: str = "injected by request") -> dict[str, Any]:
    if status not in ("reflex", "user_stop"):
        raise RefusedError(f"an arm is interrupted by a reflex or a user_stop, not {status!r}")
    plant.interrupt(status, error)
    return {}


def _joints(plant: Plant, values: Any) -> np.ndarray:
    q = np.asarray(values, dtype=float)
    spec = plant.spec
    if q.shape != (panda.DOF,) or not ((q >= spec.q_min) & (q <= spec.q_max)).all():
        raise RefusedError(f"q must be {panda.DOF} angles inside the joint limits")
    return q


def _layout(
    plant: Plant,
    cubes: dict[str, Any],
    q: Any = panda.HOME_Q_RAD,
    light: Any = 1.0,
) -> scene.Layout:
    unknown = set(cubes) - set(scene.COLOURS)
    if unknown:
        raise RefusedError(f"no cube is {unknown.pop()}; there are {', '.join(scene.COLOURS)}")
    places = {c: tuple(float(v) for v in place) for c, place in cubes.items()}
    if any(len(place) != 3 for place in places.values()):
        raise RefusedError("a cube's place is [x m, y m, yaw rad]")
    bright = np.broadcast_to(np.asarray(light, dtype=float), 3)
    return scene.Layout(places, _joints(plant, q), bright)  # type: ignore[arg-type]


def _described(layout: scene.Layout) -> dict[str, Any]:
    return {
        "cubes": {c: list(place) for c, place in layout.cubes.items()},
        "q": layout.q_rad.tolist(),
        "light": layout.light.tolist(),
    }
