"""Where a figure stops being well: what the configuration says, the ladder, the streams' table."""

from dataclasses import dataclass, field
from pathlib import Path

from tandem.runtime import config, streams
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.config_tools import Band, Console
from tandem.runtime.errors import TandemError
from tandem.tools.console.figures import Health

_WARN_SHARE = 0.5  # of a limit that has no band of its own
_MS_PER_S = 1000.0
_SEVERITY: tuple[Health, ...] = ("off", "ok", "warn", "error")


@dataclass(frozen=True)
class Limit:
    """In ms; 0: there is none."""

    warn_ms: float = 0.0
    error_ms: float = 0.0


@dataclass(frozen=True)
class Bands:
    """The limits of one robot."""

    conditioning_slow_ms: float = config.Ladder().conditioning_slow
    conditioning_hold_ms: float = config.Ladder().conditioning_hold
    state_ms: float = streams.STATE.max_age_ns / NS_PER_MS
    thresholds: tuple[float, ...] = ()  # of the recache gate, per level
    priority: int = 0  # real time that the executor asks for, 0: none
    console: Console = field(default_factory=Console)

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
            console=settings.console,
        )

    @property
    def latency(self) -> Limit:
        """From camera to command: with an older image behind it the executor slows down."""
        given, slow_ms = self.console.latency_ms, self.conditioning_slow_ms
        return Limit(given.warn, given.error) if given else Limit(_WARN_SHARE * slow_ms, slow_ms)

    def lateness(self, rate_hz: float) -> Limit:
        return _of_period(self.console.lateness, rate_hz)

    def work(self, rate_hz: float) -> Limit:
        return _of_period(self.console.work, rate_hz)


def _of_period(band: Band, rate_hz: float) -> Limit:
    """None for a loop that data paces: its rate is 0."""
    period_ms = _MS_PER_S / rate_hz if rate_hz else 0.0
    return Limit(band.warn * period_ms, band.error * period_ms)


def judge(value: float, limit: float, warn: float | None = None) -> Health:
    """`warn` is half of the limit if not given; without a limit all is well."""
    if limit <= 0:
        return "ok"
    if value >= limit:
        return "error"
    return "warn" if value >= (limit * _WARN_SHARE if warn is None else warn) else "ok"


def worst(*healths: Health) -> Health:
    return max(healths, key=_SEVERITY.index, default="off")
