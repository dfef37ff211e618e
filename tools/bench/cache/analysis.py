"""What samples of `tandem bench cache` amount to, and what they are held to. Pure.

The first frame of a clip is left out everywhere: nothing can be kept there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tandem.policies.caches.stages import STAGES
from tandem.runtime.errors import ConfigError
from tandem.tools.bench.bars import Bar
from tandem.tools.bench.cache.samples import Sample

REFRESHED = 0.10  # share of the frames that the speed-up is promised for
WHOLE_TO_STAGES = 1.10
GATE_SHARE = 0.013
TO_BOUND = 1.3
PREDICTED = {"bfloat16": 1.05, "float32": 1.35}
_ENDS = 0.1  # share of the frames at either end that drift is read from


def analyse(samples: Mapping[str, Sequence[Sample]], floor_s: Sequence[float]) -> dict[str, Any]:
    """{frames, floor_ms, caches: {name: figures}, sd_vla: {name: against what is possible}}."""
    kept = {name: [s for s in found if not s.first] for name, found in samples.items()}
    if not kept["none"]:
        raise ConfigError("no frame was measured beyond the first of each clip; give more frames")
    floor_ms = 1e3 * float(np.median(floor_s))
    ours = {name: found for name, found in kept.items() if name.startswith("sd-vla")}
    return {
        "frames": len(kept["none"]),
        "floor_ms": floor_ms,
        "caches": {name: _cache(found, kept["none"]) for name, found in kept.items()},
        "sd_vla": {name: against_floor(x, kept["none"], floor_ms) for name, x in ours.items()},
    }


def against_floor(
    cached: Sequence[Sample], whole: Sequence[Sample], floor_ms: float
) -> dict[str, float]:
    """The trunk's step without a refresh: time and multiply-adds relative to a full one, the floor,
    and what floor and multiply-adds together predict; `to_stages` is of the whole step, all frames.
    """
    least = min(s.spent.macs["trunk"] for s in cached)
    quiet = [s for s in cached if s.spent.macs["trunk"] == least]
    step_ms, full_ms = (1e3 * _median(s.spent.stages_s["trunk"] for s in x) for x in (quiet, whole))
    macs = least / whole[0].spent.macs["trunk"]
    time_ratio, floor = step_ms / full_ms, floor_ms / full_ms
    return {
        "refreshed": 1 - len(quiet) / len(cached),
        "trunk_ms": step_ms,
        "full_ms": full_ms,
        "time_ratio": time_ratio,
        "macs_ratio": macs,
        "floor_ratio": floor,
        "to_bound": time_ratio / max(macs, floor),
        "to_prediction": step_ms / (floor_ms + macs * full_ms),
        "to_stages": _to_stages(cached, whole, floor_ms),
    }


def bars(body: Mapping[str, Any], dtype: str, speedup: float) -> list[Bar]:
    """SD-VLA's promises, for each of its arrangements that took part."""
    return [bar for name in body["sd_vla"] for bar in _bars(name, body, dtype, speedup)]


def _bars(name: str, body: Mapping[str, Any], dtype: str, speedup: float) -> list[Bar]:
    found, trunk = body["caches"][name], body["sd_vla"][name]
    return [
        Bar(name, "frames with a refresh", trunk["refreshed"], REFRESHED),
        Bar(name, "gate's share of none's macs", found["gate_of_none"], GATE_SHARE),
        Bar(name, "trunk to floor + macs", trunk["to_prediction"], PREDICTED[dtype]),
        Bar(name, "trunk to the greater of them", trunk["to_bound"], TO_BOUND),
        Bar(name, "whole step to its stages", trunk["to_stages"], WHOLE_TO_STAGES),
        Bar(name, "whole step to none", found["time_ratio"], 1 / speedup),
    ]


def _to_stages(cached: Sequence[Sample], whole: Sequence[Sample], floor_ms: float) -> float:
    """Whole step, all frames, to the sum of what its stages must cost: vision and read-out as in
    `none`, of the trunk the floor and the multiply-adds; gate and projector as they were."""
    mean, full = _stages_ms(cached), _stages_ms(whole)
    macs = np.mean([s.spent.macs["trunk"] for s in cached]) / whole[0].spent.macs["trunk"]
    trunk_ms = floor_ms + macs * full["trunk"]
    expected = full["vision"] + full["readout"] + mean["gate"] + mean["projector"] + trunk_ms
    return float(1e3 * np.mean([s.wall_s for s in cached]) / expected)


def _cache(found: Sequence[Sample], whole: Sequence[Sample]) -> dict[str, Any]:
    wall_ms = 1e3 * np.array([s.wall_s for s in found])
    none_ms = 1e3 * np.array([s.wall_s for s in whole])
    error = np.array([s.error for s in found])
    macs, none_macs = (
        float(np.mean([sum(s.spent.macs.values()) for s in x])) for x in (found, whole)
    )
    ends = max(1, round(_ENDS * len(error)))
    return {
        "p50_ms": float(np.median(wall_ms)),
        "p99_ms": float(np.quantile(wall_ms, 0.99, method="inverted_cdf")),
        "mean_ms": float(wall_ms.mean()),
        "time_ratio": float(wall_ms.mean() / none_ms.mean()),
        "macs": macs,
        "macs_ratio": macs / none_macs,
        "gate_of_none": float(np.mean([s.spent.macs["gate"] for s in found])) / none_macs,
        "fresh": float(np.mean([s.spent.fresh for s in found])),
        "error_mean": float(error.mean()),
        "error_p95": float(np.quantile(error, 0.95, method="inverted_cdf")),
        "error_drift": float(error[-ends:].mean() - error[:ends].mean()),
        "stages_ms": _stages_ms(found),
        "stages_macs": {k: float(np.mean([s.spent.macs[k] for s in found])) for k in STAGES},
    }


def _stages_ms(found: Sequence[Sample]) -> dict[str, float]:
    return {k: 1e3 * float(np.mean([s.spent.stages_s[k] for s in found])) for k in STAGES}


def _median(values: Any) -> float:
    return float(np.median(list(values)))
