"""A policy that plans often and in absolute time must not make the arm run away, however joined."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import yaml
from tandem.runtime import config, streams
from tandem.runtime.app.lockstep import Lockstep
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.messages import ActionChunk, RobotState
from tandem.tools.faults.daemon import CONFIG
from tandem.tools.faults.sweep import DT_NS, HORIZON, SweepS1, offsets

_SECONDS = 3.0


class Eager:
    """A System 1 that plans every `period_ticks` of the executor, whether it is needed or not."""

    def __init__(self, cell: Lockstep, period_ticks: int) -> None:
        self._cell, self._period_ticks, self._ticks = cell, period_ticks, 0
        self._chunks = cell.bus.named("s1").publisher(streams.CHUNK)
        self._states = cell.bus.named("eager").subscriber(streams.STATE, "executor")
        self._begin: RobotState | None = None

    def tick(self, now_ns: int) -> None:
        self._states.poll()
        state, self._ticks = self._states.latest, self._ticks + 1
        if state is None or self._ticks % self._period_ticks:
            return
        if self._begin is None or state.mode != "policy":
            self._begin = state
        actions = self.at(state.t_ns + np.arange(1, HORIZON + 1) * DT_NS)
        self._chunks.send(
            ActionChunk(
                t_ns=now_ns,
                valid=True,
                actions=actions,
                t0_ns=state.t_ns,
                dt_ns=DT_NS,
                epoch=state.epoch,
                instruction_id=1,
            )
        )

    def at(self, t_ns: np.ndarray) -> np.ndarray:
        """[N, 7] where this policy wants the arm."""
        assert self._begin is not None
        return self._begin.q_cmd + offsets((t_ns - self._begin.t_ns) / NS_PER_S)


@pytest.mark.parametrize("period_ticks", [4, 8, 20])
@pytest.mark.parametrize("join", ["replace", "crossfade", "ensemble"])
def test_the_arm_stays_with_the_plan(tmp_path: Path, join: str, period_ticks: int) -> None:
    raw = deepcopy(CONFIG)
    raw.pop("s2")
    raw["s1"]["join"] = join
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(raw))
    cell = Lockstep(config.load(tmp_path / "c.yaml"), s1=SweepS1())
    eager = Eager(cell, period_ticks)
    cell._minds = [eager.tick]
    cell.go("sweep")
    away_rad = 0.0
    for _ in range(round(_SECONDS * 200)):
        cell.step()
        state = cell.cell.plant.state()
        wanted = eager.at(np.array([state.t_ns]))[0]
        away_rad = max(away_rad, float(abs(state.q_d - wanted).max()))
    cell.close()
    assert cell.executor.mode == "policy"
    assert away_rad < 0.12
