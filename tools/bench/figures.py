"""Pure analysis of stamps: tails, drift, slope. Nanoseconds in, the unit named in the key out.

Quantiles are observed values, never interpolated: a tail that nobody saw is not reported.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from tandem.runtime.clock import NS_PER_S, NS_PER_US

Array = np.ndarray
Summary = dict[str, float | None]

QUANTILES = {"p50": 0.50, "p99": 0.99, "p999": 0.999}
_ENDS = 0.1  # share of the ticks at either end that drift is read from


def summary_us(values_ns: Array) -> Summary:
    """{p50, p99, p999, max} in µs of [N] nanoseconds; None where there is no sample."""
    if len(values_ns) == 0:
        return {**dict.fromkeys(QUANTILES), "max": None}
    values = np.sort(np.asarray(values_ns, dtype=np.int64))
    # The smallest value that at least the share q of the samples does not exceed.
    ranks = {name: max(0, int(np.ceil(q * len(values))) - 1) for name, q in QUANTILES.items()}
    return {
        **{name: float(values[rank]) / NS_PER_US for name, rank in ranks.items()},
        "max": float(values[-1]) / NS_PER_US,
    }


def pooled(summaries: Iterable[Summary]) -> Summary:
    """One summary of several runs: the median run of each quantile, and the worst of all maxima."""
    runs = list(summaries)
    result: Summary = {name: median(run[name] for run in runs) for name in QUANTILES}
    worst = [run["max"] for run in runs if run["max"] is not None]
    return {**result, "max": max(worst) if worst else None}


def median(values: Iterable[float | None]) -> float | None:
    """Median of what is there; None of nothing."""
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None


def effective_hz(wake_ns: Array) -> float:
    """Ticks per second between the first and the last wake; 0 for fewer than two."""
    if len(wake_ns) < 2 or wake_ns[-1] <= wake_ns[0]:
        return 0.0
    return (len(wake_ns) - 1) * NS_PER_S / float(wake_ns[-1] - wake_ns[0])


def drift_us(wake_ns: Array, index: Array, rate_hz: float) -> float:
    """How far the ticks slid off the ideal grid over the run, µs; positive is late.

    Median distance of the last tenth of the ticks from `k / rate_hz`, minus that of the first
    tenth, so that neither one late wake nor a constant lateness looks like drift.
    """
    if len(wake_ns) < 2:
        return 0.0
    grid_ns = (index - index[0]) * (NS_PER_S / rate_hz)
    distance_ns = (wake_ns - wake_ns[0]) - grid_ns
    some = max(1, int(len(wake_ns) * _ENDS))
    return float(np.median(distance_ns[-some:]) - np.median(distance_ns[:some])) / NS_PER_US


def slope_per_hour(t_ns: Array, values: Array) -> float:
    """Theil–Sen slope, units per hour: the median of all pairwise slopes (Sen 1968).

    A single late allocation or a freed arena does not tilt it, as it would a least-squares line.
    """
    if len(values) < 2:
        return 0.0
    first, second = np.triu_indices(len(values), k=1)
    hours = (t_ns[second] - t_ns[first]) / (3600 * NS_PER_S)
    return float(np.median((values[second] - values[first]) / hours))


def thinned(t_ns: Array, values: Array, most: int = 1000) -> tuple[Array, Array]:
    """At most `most` evenly spaced samples: pairwise slopes grow with the square."""
    step = max(1, -(-len(values) // most))
    return t_ns[::step], values[::step]


def rounded(tree: object, digits: int = 3) -> object:
    """The same nest of dicts and lists with floats that people can read."""
    if isinstance(tree, Mapping):
        return {key: rounded(value, digits) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [rounded(value, digits) for value in tree]
    return round(float(tree), digits) if isinstance(tree, float | np.floating) else tree
