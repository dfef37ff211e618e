"""Everything that a moving tick may do, done once before it counts.

The first time that a path is taken costs milliseconds: libraries load their parts on demand, pages
are fetched, splines of a new length are solved. In motion that would be a late knot.
"""

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.interfaces import ArmSpec, ArmState
from tandem.runtime.interpolate import Spline
from tandem.runtime.messages import ActionChunk, Task
from tandem.runtime.pilot import Pilot
from tandem.runtime.setpoint import Setpoint
from tandem.runtime.settings import ExecutorSettings

_HORIZONS = range(1, 65)
_STEP_NS = 50 * NS_PER_MS


def rehearse(spec: ArmSpec, settings: ExecutorSettings) -> None:
    """Follow a plan, a hand and a brake with parts of our own; nothing of it reaches an arm."""
    joints = len(spec.joint_names)
    q, zero = (spec.q_min + spec.q_max) / 2, np.zeros(joints)
    for horizon in _HORIZONS:
        Spline(0.0, q, zero, 0.05, np.tile(q, (horizon, 1)))
    pilot, setpoint = Pilot(joints, settings), Setpoint(spec, settings.motion, 1 / settings.rate_hz)
    period_ns = round(NS_PER_S / settings.rate_hz)
    task = Task(instruction="rehearse", instruction_id=1, epoch=0)
    setpoint.adopt(q, 0)
    pilot.engage(task.instruction, 0)
    for k in range(1, 12):
        t_ns = k * period_ns
        state = ArmState(t_ns, q, zero, zero, q, zero, zero, 0.0, "idle")
        pilot.remember(state, setpoint.t_ns)
        actions = np.tile(np.append(q + 1e-3 * k, 1.0), (16, 1))
        pilot.consider(_chunk(actions, t_ns), setpoint.last.q, task, 0)
        pilot.lost(t_ns)
        setpoint.follow(pilot.next(period_ns / NS_PER_S, t_ns, q), t_ns)
    setpoint.drive(zero + 0.01, 12 * period_ns)
    if setpoint.tool is not None:
        setpoint.drive_tool(np.full(6, 0.01), "tool", 13 * period_ns)
    setpoint.brake(14 * period_ns)
    setpoint.rejoin(ArmState(0, q, zero, zero, q, zero + 0.1, zero, 0.0, "moving"), 15 * period_ns)


def _chunk(actions: np.ndarray, t0_ns: int) -> ActionChunk:
    return ActionChunk(actions=actions, t0_ns=t0_ns, dt_ns=_STEP_NS, epoch=0, instruction_id=1)
