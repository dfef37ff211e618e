"""What a configuration says of the operator's tools: how a hand drives, when a figure is ill."""

from typing import Annotated, Literal

import msgspec
from tandem.runtime.strict_yaml import Section

Share = Annotated[float, msgspec.Meta(ge=0.05, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class Teleop(Section, frozen=True, kw_only=True):
    """What `tandem teleop` begins with; its options go before these.

    `max_rad_s` is of the tool's turning and of every joint; `sensitivity` the share of full speed
    to begin with. A command of the operator is missing after 1/`rate_hz`: the executor, which is
    given the same number, slows down when three are.
    """

    device: Literal["auto", "keyboard", "gamepad", "spacemouse"] = "auto"
    frame: Literal["base", "tool", "joint"] = "base"
    max_m_s: Annotated[float, msgspec.Meta(ge=0.005, le=1.0)] = 0.15
    max_rad_s: Annotated[float, msgspec.Meta(ge=0.02, le=1.0)] = 1.0
    sensitivity: Share = 0.5
    rate_hz: Annotated[float, msgspec.Meta(ge=50, le=100)] = 100.0


class Band(Section, frozen=True, kw_only=True):
    """A figure is yellow from `warn` on, red from `error` on."""

    warn: Positive
    error: Positive


class Console(Section, frozen=True, kw_only=True):
    """Bands of `tandem console`: p99 of the last ten seconds.

    `lateness` and `work` are shares of a loop's own period; real-time work on a core has to stay
    below 0.8 of it. `latency_ms` is the way from camera to command; None: red where the ladder
    begins to slow down for age, yellow from half of that.
    """

    lateness: Band = Band(warn=0.5, error=1.0)
    work: Band = Band(warn=0.8, error=1.0)
    latency_ms: Band | None = None

    def bands(self) -> dict[str, Band]:
        """Those that are given, by the key in the file."""
        all_of_them = {"lateness": self.lateness, "work": self.work, "latency_ms": self.latency_ms}
        return {key: band for key, band in all_of_them.items() if band is not None}
