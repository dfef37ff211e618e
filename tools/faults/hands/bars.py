"""What the campaigns are held to, and their figures in a line each. Pure."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from tandem.tools.bench.bars import Bar
from tandem.tools.faults.hands import cut, handover
from tandem.tools.faults.hands.cut import Cut
from tandem.tools.faults.hands.handover import HandOver
from tandem.tools.faults.hands.minds import Loss

_TICK_MS = 5.0  # of the rig's executor


class Round(Protocol):
    """What each of the campaigns makes."""

    problems: list[str]

    def line(self) -> str: ...


def p99(values: Sequence[float]) -> float:
    """An observed value, never interpolated."""
    return float(np.sort(values)[max(0, int(np.ceil(0.99 * len(values))) - 1)])


def hand_overs(rounds: Sequence[HandOver], asked: int, link_ms: float) -> list[Bar]:
    """In control within two ticks and the way of the message, `link_ms`."""
    if not rounds:
        return _good("hand-over", rounds, asked)
    slow = sum(r.speed_rad_s <= handover.FAST_RAD_S for r in rounds)
    request_ms = [r.request_ms for r in rounds]
    return [
        *_good("hand-over", rounds, asked),
        Bar("hand-over", f"began at {handover.FAST_RAD_S} rad/s or less", slow, asked / 2),
        *_laws("hand-over", rounds),
        Bar("hand-over", "asked → in control, p99 ms", p99(request_ms), 2 * _TICK_MS + link_ms),
    ]


def cuts(rounds: Sequence[Cut], asked: int) -> list[Bar]:
    """`asked`: of each kind."""
    bars = [] if rounds else _good("link cut", rounds, asked)
    for kind, mine in _by_kind(rounds):
        case = f"link cut: {kind}"
        over_ms = max(r.rest_ms - r.allowed_ms for r in mine)
        slows_ms = max(r.slows_ms for r in mine)
        bars += _good(case, mine, asked)
        bars.append(Bar(case, "slows after ms", slows_ms, cut.SLOW_MS[mine[0].kind]))
        bars.append(Bar(case, "at rest later than allowed, ms", over_ms, 0))
    return bars


def losses(rounds: Sequence[Loss], asked: int) -> list[Bar]:
    case, silent_ms = "minds killed", sum(r.uncommanded_ms for r in rounds)
    if not rounds:
        return _good(case, rounds, asked)
    bars = [*_good(case, rounds, asked), Bar(case, "ms without a command", silent_ms, 0)]
    return [*bars, *_laws(case, rounds)]


def summary(rounds: Sequence[Cut]) -> Iterator[str]:
    """Stopping time and distance, for people."""
    for kind, mine in _by_kind(rounds):
        parts = [
            f"{name} p50 {np.median(values):.0f}, max {max(values):.0f}"
            for name, values in (
                ("slows after ms", [r.slows_ms for r in mine]),
                ("at rest after ms", [r.rest_ms for r in mine]),
                ("mm of the tool", [r.way_mm for r in mine]),
            )
        ]
        speeds = [r.speed_rad_s for r in mine]
        yield f"{kind}: {len(mine)} at {min(speeds):.2f} … {max(speeds):.2f} rad/s; " + "; ".join(
            parts
        )


def _good(case: str, rounds: Sequence[Round], asked: int) -> list[Bar]:
    bad = sum(bool(played.problems) for played in rounds) + asked - len(rounds)
    return [Bar(case, f"not good, of {asked}", bad, 0)]


def _laws(case: str, rounds: Sequence[HandOver] | Sequence[Loss]) -> list[Bar]:
    return [
        Bar(case, "Δv per ms, of a_max·dt", max(r.acceleration_share for r in rounds), 1),
        Bar(case, "Δa per ms, of j_max·dt", max(r.jerk_share for r in rounds), 1),
    ]


def _by_kind(rounds: Sequence[Cut]) -> Iterator[tuple[str, list[Cut]]]:
    for kind in cut.SLOW_MS:
        if mine := [r for r in rounds if r.kind == kind]:
            yield kind, mine
