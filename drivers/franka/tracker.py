"""A follower in robot time, whose set-point may be put where the robot's went."""

from tandem.drivers.follow import Follower, SetPoint
from tandem.runtime.clock import NS_PER_S


class Tracker(Follower):
    @property
    def t_ns(self) -> int:
        return self._t_ns

    @property
    def brake_ns(self) -> int:
        """The longest that the brake under way can take."""
        return round(self._brake.duration_s * NS_PER_S)

    def elsewhere(self, point: SetPoint, t_ns: int) -> None:
        self._segments.clear()
        self._t_ns = t_ns
        self._brake_from(point, t_ns)
