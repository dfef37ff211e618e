"""The shipped System 2 in the table of caches: trained weights, so its errors and successes count.

Errors are of the latent that System 1 is given. Static encoders stand in the projector's column:
they make trunk rows of features.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tandem.policies.caches.held import held_bytes
from tandem.policies.caches.strategy import Image
from tandem.policies.s2.kv_cache import KvCache
from tandem.policies.s2.policy import SdVla, Strategy
from tandem.runtime import config
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import Frame, Observation
from tandem.tools.bench.bars import Bar
from tandem.tools.bench.cache.samples import Spent
from tandem.tools.bench.cache.sdvla import INTERVAL_FRAMES
from tandem.tools.evaluate.runs import Wish, evaluate
from torch import Tensor

NAME = "shipped"
CONFIG = "sim_panda"
KINDS: dict[str, Strategy] = {
    "none": "none",
    "interval": "fixed_interval",
    "vla-cache": "vla_cache",
    "ttf": "ttf",
    "lac": "lac",
    "dual-cache": "dual_cache",
    "sd-vla": "sdvla",
}
_FIRST = torch.zeros(1, dtype=torch.long)
SPEEDUP_MACS, SPEEDUP_TIME = 2.5, 1.8  # aims for a model this small; time on one thread


class Shipped:
    """One stream of pictures of the configured camera through System 2 under one cache."""

    def __init__(self, name: str) -> None:
        given = _s2()
        interval = name == "interval"
        self._camera = given.cameras[0]
        self._policy = SdVla.from_weights(
            given.weights,
            camera=self._camera,
            strategy=KINDS[name],
            thresholds=given.cache.thresholds,
            max_age_frames=INTERVAL_FRAMES if interval else given.cache.max_age_frames,
            threads=None,
        )
        self.size = self._policy.model.config.image
        self._errand = ""
        self._row_cache = KvCache(self._policy.model.config)

    def reset(self) -> None:
        self._policy.forget()

    def step(self, image: Image, errand: str) -> Tensor:
        """The latent [K, D]."""
        if errand != self._errand:
            self._policy.reset(errand)
            self._errand = errand
        frame = Frame(image, t_capture_ns=0, seq=0)
        self._said = self._policy.step(Observation(t_ns=0, images={self._camera: frame}))
        return torch.from_numpy(self._said.latent)

    def spent(self) -> Spent:
        said, macs = self._said, self._policy.spent
        taken = {stage: ns / NS_PER_S for stage, ns in said.timings_ns.items()}
        taken["projector"] = taken.pop("static")
        rows = float(said.refreshed[-1]) if self._policy.rival is None else said.gate[-1]
        return Spent(
            taken,
            {
                "gate": macs.gate,
                "vision": macs.vision,
                "projector": macs.static,
                "trunk": macs.trunk,
                "readout": macs.readout,
            },
            rows,
        )

    def truth(self, image: Image) -> Tensor | None:
        return None

    def held_bytes(self) -> int:
        return held_bytes([self._policy.engine, self._policy.rival])

    @torch.inference_mode()
    def one_row(self) -> float:
        """Seconds of one row through the trunk."""
        trunk, width = self._policy.model.trunk, self._policy.model.config.width
        begin_s = time.perf_counter()
        trunk.rows(
            torch.ones(1, 1, width), _FIRST, self._row_cache.bias()[:, _FIRST], self._row_cache
        )
        return time.perf_counter() - begin_s


def streams(names: Sequence[str]) -> dict[str, Shipped]:
    """
    Raises:
        ConfigError: a name that is not in KINDS.
        WeightsError: weights are missing.
    """
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        known = ", ".join(KINDS)
        raise ConfigError(f"no cache {unknown[0]!r} on the shipped model; there are {known}")
    return {name: Shipped(name) for name in names}


def successes(
    names: Sequence[str], episodes: int, seed: int, tell: Callable[[str], None]
) -> dict[str, int]:
    """Picks of so many fresh scenes, the same for every cache, in closed loop.

    The interval refreshes as often as the gate did in these scenes.
    """
    given = config.load(CONFIG)
    wish = Wish(CONFIG, given, episodes, seed, "pick", "sim", "none", jobs=2)

    def told(what: str, done: int, total: int, won: int) -> None:
        if done == total:
            tell(f"{what}: {won} of {total} picked")

    results = evaluate(wish, [KINDS[name] for name in names], told).results
    return {name: result.successes for name, result in zip(names, results, strict=True)}


def bars(body: dict[str, Any]) -> list[Bar]:
    """SD-VLA's promises on a small model, if it took part."""
    found = body["caches"].get("sd-vla")
    if found is None:
        return []
    return [
        Bar("sd-vla", "multiply-adds to none", found["macs_ratio"], 1 / SPEEDUP_MACS),
        Bar("sd-vla", "whole step to none", found["time_ratio"], 1 / SPEEDUP_TIME),
    ]


def _s2() -> config.S2:
    given = config.load(CONFIG).s2
    assert given is not None  # it is shipped so
    return given
