"""Where a figure stops being well: from the streams' table, the ladder, and a loop's own period."""

from dataclasses import dataclass
from pathlib import Path

from tandem.runtime import config, streams
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import TandemError
from tandem.tools.console.figures import Health

WARN_SHARE = 0.5  # of a limit
WORK_WARN_SHARE = 0.8  # of a period: real-time work on a core has to stay below that
_MS_PER_S = 1000.0
_SEVERITY: tuple[Health, ...] = ("off", "ok", "warn", "error")


@dataclass(frozen=True)
class Bands:
    """The limits of one robot."""

    conditioning_slow_ms: float = config.Ladder().conditioning_slow
    conditioning_hold_ms: float = config.Ladder().conditioning_hold
    state_ms: float = streams.STATE.max_age_ns / NS_PER_MS
    thresholds: tuple[float, ...] = ()  # of the recache gate, per level
    priority: int = 0  # real time that the executor asks for, 0: none

    @classmethod
    def of(cls, folder: Path) -> "Bands":
        """Of the configuration that the daemon saved in its runtime folder."""
        file = folder / "config.yaml"
        if not file.is_file():
            return cls()
        try:
            settings = config.load(file)
        except TandemError:  # of another version: the defaults are better than no console
            return cls()
        return cls(
            settings.ladder_ms.conditioning_slow,
            settings.ladder_ms.conditioning_hold,
            thresholds=settings.s2.cache.thresholds if settings.s2 else (),
            priority=settings.executor.priority,
        )

    @property
    def latency_ms(self) -> float:
        """Budget from camera to command: with an older image behind it the executor slows down."""
        return self.conditioning_slow_ms


def period_ms(rate_hz: float) -> float:
    """0 for a loop that data paces."""
    return _MS_PER_S / rate_hz if rate_hz else 0.0


def judge(value: float, limit: float, warn: float | None = None) -> Health:
    """`warn` is half of the limit if not given; without a limit all is well."""
    if limit <= 0:
        return "ok"
    if value >= limit:
        return "error"
    return "warn" if value >= (limit * WARN_SHARE if warn is None else warn) else "ok"


def worst(*healths: Health) -> Health:
    return max(healths, key=_SEVERITY.index, default="off")
