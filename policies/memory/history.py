"""Which past frames to look at: the first for ever, the last seconds densely, the rest sparsely.

Twenty consecutive frames at 10 Hz are two seconds and know nothing of what was done before. A fixed
budget spread like this covers forty: the first frame shows where everything stood, half-second
steps count how long something has lasted, and logarithmic steps tell what was done.
"""

from bisect import bisect_left
from collections.abc import Sequence

RECENT, EVERY_S = 10, 0.5
OLDER, HORIZON_S = 9, 40.0
FRAMES = 1 + RECENT + OLDER


def _ages() -> tuple[float, ...]:
    recent = [i * EVERY_S for i in range(RECENT)]
    ratio = (HORIZON_S / recent[-1]) ** (1 / OLDER)
    return (*recent, *(recent[-1] * ratio ** (i + 1) for i in range(OLDER)))


AGES_S = _ages()  # wanted, newest first


def _tolerance_s(slot: int) -> float:
    """How far off a frame may be: half of the smaller step to a neighbouring age."""
    steps = [abs(AGES_S[slot] - AGES_S[i]) for i in (slot - 1, slot + 1) if 0 <= i < len(AGES_S)]
    return min(steps) / 2


_TOLERANCES_S = tuple(map(_tolerance_s, range(len(AGES_S))))
KEPT_S = AGES_S[-1] + _TOLERANCES_S[-1]  # frames older than this can go, but for the first


def select(times_s: Sequence[float]) -> list[int]:
    """Indices into `times_s` (ascending; the last is now) of the frames to look at, ascending.

    The first and the newest are always among them; at most FRAMES, each once. Of the others, each
    wanted age brings the frame nearest to it, if there is one near enough.
    """
    now_s, newest = times_s[-1], len(times_s) - 1
    chosen = {0, newest}
    for age_s, tolerance_s in zip(AGES_S[1:], _TOLERANCES_S[1:], strict=True):
        nearest = _nearest(times_s, now_s - age_s)
        if abs(times_s[nearest] - (now_s - age_s)) <= tolerance_s:
            chosen.add(nearest)
    return sorted(chosen)


def _nearest(times_s: Sequence[float], t_s: float) -> int:
    after = bisect_left(times_s, t_s)
    if after == 0:
        return 0
    if after == len(times_s):
        return after - 1
    return after if times_s[after] - t_s < t_s - times_s[after - 1] else after - 1
