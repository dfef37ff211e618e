"""When System 1 plans again, and what the arm will still do meanwhile: pure functions."""

import numpy as np
from tandem.runtime.interfaces import Array
from tandem.runtime.messages import ActionChunk, RobotState, Task


def why_plan(
    chunk: ActionChunk | None,
    state: RobotState,
    task: Task,
    heard_more: bool,
    horizon_ns: int,
    delay_ns: int,
) -> str | None:
    """Why to plan from `state`, given the chunk that was sent last; None: not yet.

    `horizon_ns` is how much of a chunk is executed before the next one is planned.
    """
    if chunk is None or chunk.epoch != state.epoch:
        return "epoch"
    if chunk.instruction_id != task.instruction_id:
        return "instruction"
    if heard_more:
        return "conditioning"
    ran_ns = state.t_ns - chunk.t0_ns
    if ran_ns >= horizon_ns:
        return "steps"
    if len(chunk.actions) * chunk.dt_ns - ran_ns <= horizon_ns + delay_ns:
        return "ending"
    return None


def still_to_run(chunk: ActionChunk, t_ns: int, delay_ns: int) -> Array:
    """The chunk's targets at t + dt, t + 2·dt … for the next `delay_ns`: [d, D].

    On the grid of a chunk anchored at `t_ns`, linearly between the old targets; it ends where the
    old chunk does.
    """
    steps = -(-delay_ns // chunk.dt_ns)
    old_ns = (np.arange(len(chunk.actions)) + 1) * chunk.dt_ns + chunk.t0_ns - t_ns
    new_ns = (np.arange(steps) + 1) * chunk.dt_ns
    new_ns = new_ns[new_ns <= old_ns[-1]]
    columns = [np.interp(new_ns, old_ns, column) for column in chunk.actions.T]
    return np.stack(columns, axis=1)
