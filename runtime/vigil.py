"""What may have happened to the executor itself since its last tick: away, asleep, or alone."""

from collections.abc import Callable

from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.settings import ExecutorSettings

_SUSPENDED_NS = 10 * NS_PER_MS
_CUT_NS = 1 << 61  # so long a silence means that the line to the supervisor is cut


class Vigil:
    """`silence_ns(now)` says for how long the supervisor has been silent, `asleep_ns()` for how
    long the machine has been suspended in all."""

    def __init__(
        self,
        settings: ExecutorSettings,
        silence_ns: Callable[[int], int],
        asleep_ns: Callable[[], int],
    ) -> None:
        self.woke_ns = 0
        self.noted: dict[str, list[int]] = {}  # what of it decided in this tick: a replay needs it
        self._settings, self._silence, self._asleep = settings, silence_ns, asleep_ns
        self._silent_ns = 0
        self._slept_ns = asleep_ns()

    def look(self, now_ns: int) -> str | None:
        """Once per tick: why this one does not simply continue the last."""
        gap_ns, self.woke_ns = now_ns - (self.woke_ns or now_ns), now_ns
        self._silent_ns = self._silence(now_ns)
        self.noted = {}
        if gap_ns > self._settings.tick_gap_ns:
            return f"the executor was away for {gap_ns // NS_PER_MS} ms"
        if self._silent_ns > self._settings.supervisor_silent_ns:
            self.noted["silence"] = [self._silent_ns]
            return "the supervisor has fallen silent"
        return None

    def suspended(self) -> str | None:
        """Once per tick: the computer has slept since. CLOCK_MONOTONIC stands still meanwhile."""
        before_ns, self._slept_ns = self._slept_ns, self._asleep()
        slept_ns = self._slept_ns - before_ns
        if slept_ns <= _SUSPENDED_NS:
            return None
        self.noted["asleep"] = [slept_ns]
        return f"the computer was suspended for {slept_ns / NS_PER_S:.1f} s"

    @property
    def alone(self) -> bool:
        """Nobody could ever command this executor again."""
        return self._silent_ns > _CUT_NS
