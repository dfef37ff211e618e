"""The extremes of what the arm was made to follow, over the whole of a run.

The simulator keeps two minutes; a longer run is read piece by piece, with an overlap, so that no
difference between two set-points is missed.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

from tandem.runtime import arm_file
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.config import Config

_PERIOD_S = 60.0
_OVERLAP_NS = 5 * NS_PER_S


class PlantWatch:
    """Does nothing for an arm without a black box."""

    def __init__(self, settings: Config) -> None:
        self._simulated = settings.simulated
        self._folder = settings.folder
        self._spec = arm_file.load(Path(settings.robot.limits.file)).spec
        self._parts: list[Any] = []
        self._since_ns = 0

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take in what was recorded since the last look."""
        if not self._simulated:
            return
        from tandem.drivers.sim import blackbox, wire
        from tandem.runtime.errors import WireError

        try:
            record = blackbox.read(wire.black_box(self._folder))
            recent = record.between(self._since_ns, time.monotonic_ns())
            self._parts.append(blackbox.extremes_of(recent))
        except WireError:
            return  # it ended before the plant took a step
        self._since_ns = time.monotonic_ns() - _OVERLAP_NS

    def result(self) -> dict[str, Any] | None:
        """Largest |finite differences| per joint, and as a share of the arm's own limits."""
        if not self._parts:
            return None
        limits = {
            "velocity": self._spec.dq_max,
            "acceleration": self._spec.ddq_max,
            "jerk": self._spec.jerk_max,
        }
        answer: dict[str, Any] = {"samples": sum(part.rows for part in self._parts)}
        for name, limit in limits.items():
            peak = [max(v) for v in zip(*(getattr(p, name) for p in self._parts), strict=True)]
            answer[name] = [float(value) for value in peak]
            answer[f"{name}_share"] = float(
                max(value / m for value, m in zip(peak, limit, strict=True))
            )
        return answer
