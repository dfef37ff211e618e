"""What of a recording can be learnt from: spans in which somebody drove, cut into even frames.

An episode is one instruction while the policy or an operator drives. A hand-over holds for a
moment; so short a hold belongs to the episode, a longer one ends it. Every frame says who drove:
what an operator did while the policy was overruled is what the next policy should learn.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.messages import RobotState, Task
from tandem.tools.record.reader import Recording

_DRIVING = ("policy", "teleop")
_PAUSE_NS = 2 * NS_PER_S
_UNTOLD = "teleoperation"  # somebody drove without an instruction


@dataclass
class Episode:
    """Samples as recorded: t_ns [N], measured [N, D+1], applied [N, D+1], mode [N].

    The last column is the gripper: measured its width in metres, applied 0 closed … 1 open.
    """

    task: str
    t_ns: list[int] = field(default_factory=list)
    measured: list[np.ndarray] = field(default_factory=list)
    applied: list[np.ndarray] = field(default_factory=list)
    mode: list[str] = field(default_factory=list)
    driven: int = 0  # samples up to the last one that was driven

    def add(self, state: RobotState) -> None:
        self.t_ns.append(state.t_ns)
        self.measured.append(np.append(state.q, state.width_m))
        self.applied.append(np.append(state.q_cmd, state.gripper_cmd))
        self.mode.append(state.mode)
        if state.mode in _DRIVING:
            self.driven = len(self.t_ns)


@dataclass(frozen=True)
class Frames:
    """An episode on an even grid: t_ns [N] int64, state [N, D+1], action [N, D+1], mode [N]."""

    task: str
    t_ns: np.ndarray
    state: np.ndarray
    action: np.ndarray
    mode: list[str]

    @property
    def intervened(self) -> np.ndarray:
        """[N] bool: the operator drove."""
        return np.array([mode == "teleop" for mode in self.mode])


def episodes(recording: Recording) -> Iterator[Episode]:
    """Spans in which somebody drove, in order."""
    task, current = Task(instruction="", instruction_id=0, epoch=0), None
    for entry in recording.entries("state", "task"):
        message = entry.message
        if isinstance(message, Task):
            if message.instruction_id != task.instruction_id and current is not None:
                yield current
                current = None
            task = message
            continue
        if current is not None and message.t_ns - current.t_ns[current.driven - 1] > _PAUSE_NS:
            yield current
            current = None
        if current is None and message.mode in _DRIVING:
            current = Episode(task.instruction or _UNTOLD)
        if current is not None:
            current.add(message)
    if current is not None:
        yield current


def on_grid(episode: Episode, fps: int) -> Frames | None:
    """Sampled at `fps`; None if it is shorter than two frames.

    The action of a frame is what was applied one frame later: where the arm was led from there.
    """
    t_ns = np.array(episode.t_ns[: episode.driven], np.int64)
    if not t_ns.size:
        return None
    n = int((t_ns[-1] - t_ns[0]) * fps // NS_PER_S) + 1
    if n < 2:
        return None
    grid_ns = t_ns[0] + (np.arange(n + 1) * NS_PER_S) // fps
    index = np.searchsorted(t_ns, grid_ns, side="right") - 1
    applied = np.array(episode.applied)
    applied[:, -1] = _said(applied[:, -1])
    return Frames(
        episode.task,
        grid_ns[:-1],
        np.array([episode.measured[i] for i in index[:-1]]),
        applied[index[1:]],
        [episode.mode[i] for i in index[:-1]],
    )


def _said(gripper: np.ndarray) -> np.ndarray:
    """Before anybody said something of the gripper, it was left as the first word found it."""
    known = np.flatnonzero(np.isfinite(gripper))
    first = gripper[known[0]] if known.size else 1.0
    return np.where(np.isfinite(gripper), gripper, first)
