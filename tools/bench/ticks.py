"""Every tick of a loop, out of the Tick messages that its tap publishes. Pure.

A batch says how late each tick woke and how long it worked, and how many ticks were skipped since
the start, up to its last one. The loop ticks on a grid, so the rest follows: the last tick's index
is the number of ticks served plus the number skipped; a skip lies behind the tick that ended more
than a period late; and the grid's origin is what `t_ns - lateness` of the last ticks agree on.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import WireError
from tandem.runtime.messages import Tick
from tandem.tools.bench.runs import Stamps

SEND = "send"


def stamps(batches: Sequence[Tick]) -> Stamps:
    """Stamps of consecutive batches of one loop; the first only tells from where skips count.

    Raises:
        WireError: a batch is missing, so that ticks would be.
    """
    if not any(len(batch.lateness_ns) for batch in batches[1:]):
        empty = np.zeros(0, dtype=np.int64)
        return Stamps(empty, empty, empty)
    _refuse_gaps(batches)
    baseline, *batches = batches
    period_ns = round(NS_PER_S / batches[0].rate_hz)
    lateness_ns = np.concatenate([batch.lateness_ns for batch in batches])
    index = np.concatenate(_indices(batches, baseline.missed, period_ns))
    batches = [batch for batch in batches if len(batch.lateness_ns)]
    last = np.cumsum([len(batch.lateness_ns) for batch in batches]) - 1
    # Batches are stamped some work after the wake; the least is the one that was stamped soonest.
    ends_ns = np.array([batch.t_ns for batch in batches]) - lateness_ns[last]
    t0_ns = int(np.min(ends_ns - index[last] * period_ns))
    due_ns = t0_ns + index * period_ns
    nothing = np.zeros(0, dtype=np.int64)
    send_late_ns = np.concatenate([batch.samples_ns.get(SEND, nothing) for batch in batches])
    return Stamps(index, due_ns, due_ns + lateness_ns, send_late_ns)


def _indices(batches: Sequence[Tick], missed: int, period_ns: int) -> list[np.ndarray]:
    """Grid index of each tick of each batch, from 0; `missed` were skipped before the first."""
    result, following, late_end_ns = [], 0, 0
    for batch in batches:
        ended_ns = np.concatenate([[late_end_ns], batch.lateness_ns + batch.work_ns])
        skipped = _skips(ended_ns[:-1], batch.missed - missed, period_ns)
        index = following + np.arange(len(skipped)) + np.cumsum(skipped)
        result.append(index)
        missed, late_end_ns = batch.missed, int(ended_ns[-1])
        following = int(index[-1]) + 1 if len(index) else following
    return result


def _skips(ended_ns: np.ndarray, total: int, period_ns: int) -> np.ndarray:
    """[N] ticks skipped before each tick, from how late the one before it had ended.

    Their sum is known; where the parts do not add up to it (a tick ended right on a boundary), all
    are put behind the tick that ended latest.
    """
    skips: np.ndarray = np.maximum(ended_ns // period_ns - 1, 0)
    if len(skips) and skips.sum() != total:
        skips[:] = 0
        skips[np.argmax(ended_ns)] = total
    return skips


def _refuse_gaps(batches: Sequence[Tick]) -> None:
    for before, after in pairwise(batches):
        if after.seq != before.seq + 1:
            raise WireError(
                f"Tick messages {before.seq + 1} to {after.seq - 1} of {before.source} were lost: "
                "the bench could not keep up; run it again on a quieter machine"
            )
