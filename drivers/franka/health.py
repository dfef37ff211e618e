"""What the robot says of itself that a person should hear: once each, with what to do."""

from collections import Counter

from tandem.drivers.franka import words
from tandem.drivers.franka.line import Report
from tandem.runtime.interfaces import Notice

_FULL = 150  # ticks of a motion until the rate of the last 100 set-points means something
_BETTER = 0.05  # above the bound: the spell is over
_KEEP = 32


class Health:
    """Folds reports. `counters` and `success_rate` are for telemetry, `take` for events."""

    def __init__(self, success_rate_min: float) -> None:
        self.counters: Counter[str] = Counter()
        self.success_rate = 1.0
        self._bound = success_rate_min
        self._poor = False
        self._moved = 0  # ticks of the present motion
        self._mode: str | None = None
        self._notices: list[Notice] = []

    def see(self, report: Report, moving: bool) -> None:
        """`moving`: a motion of ours is under way."""
        self._moved = self._moved + 1 if moving else 0
        if self._moved > _FULL:
            self._see_rate(report.success_rate)
        if report.mode != self._mode:
            before, self._mode = self._mode, report.mode
            self._see_mode(report, before)

    def take(self) -> list[Notice]:
        taken, self._notices = self._notices, []
        return taken

    def say(self, level: str, kind: str, text: str, **data: object) -> None:
        if len(self._notices) < _KEEP:
            self._notices.append(Notice(level, kind, text, data))  # type: ignore[arg-type]

    def _see_rate(self, rate: float) -> None:
        self.success_rate = rate
        if not self._poor and rate < self._bound:
            self._poor = True
            self.counters["poor_spells"] += 1
            self.say("warn", "success_rate", words.of_rate(rate, self._bound), rate=rate)
        elif self._poor and rate >= min(self._bound + _BETTER, 1.0):
            self._poor = False
            text = f"{rate:.0%} of our set-points reach the robot in time again"
            self.say("info", "success_rate", text, rate=rate)

    def _see_mode(self, report: Report, before: str | None) -> None:
        match report.mode:
            case "reflex":
                self.counters["reflexes"] += 1
                errors = report.errors
                kind = "communication" if words.is_communication(errors) else "reflex"
                self.say("error", kind, words.of_errors(errors), errors=errors)
            case "idle" | "move":
                if before is not None and before not in ("idle", "move", "recovery"):
                    self.say("info", "robot", f"the robot is ready again; it was: {before}")
                elif before == "recovery":
                    self.say("info", "robot", "the robot has recovered from its errors")
            case "recovery":
                pass
            case other:
                self.counters[f"{other}s" if other == "user_stop" else other] += 1
                self.say("warn", other, f"the robot does not obey: {words.MODES[other]}")
