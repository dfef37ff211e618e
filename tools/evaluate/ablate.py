"""System 2 with one part of what it knows replaced by something false.

A part that can be falsified without harm was never used. Each ablation runs on the same scenes as
the intact policy: the gate shut, static tokens of another scene, dynamic tokens of another time,
another instruction than the one that is scored.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import torch
from tandem.drivers.sim.world import World
from tandem.policies.caches.recache import Recache
from tandem.policies.s2.engine import Engine, Reading
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.policy import SdVla
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError
from torch import Tensor

LATE_FRAMES = 15  # 1.5 s at 10 Hz: longer than the 4 frames that dynamic tokens reach back
_OTHER_SCENE = 20261


class ShutGate(Recache):
    """Refreshes at the first frame and never again."""

    def decide(self, scores: Sequence[float], force: int | None = None) -> int | None:
        return super().decide([0.0] * len(scores), force)


class ForeignStatics(Engine):
    """Static rows come from a picture of another scene; everything else is true."""

    def __init__(self, model: S2Model, foreign: Tensor) -> None:
        super().__init__(model)
        self._foreign = foreign

    def refresh(self, features: Tensor, top: int) -> None:
        super().refresh(features, top)
        encoders = (self.model.tokens.l1, self.model.tokens.l2)
        self.static = [encode(self._foreign) for encode in encoders[-len(self.static) :]]


class LateDynamics(Engine):
    """Dynamic tokens show the scene as it was `LATE_FRAMES` frames ago; static tokens are true."""

    def __init__(self, model: S2Model) -> None:
        super().__init__(model)
        self._past: deque[Tensor] = deque(maxlen=LATE_FRAMES + 1)

    def advance(self, features: Tensor, question: Tensor) -> Reading:
        self._past.append(features)
        return super().advance(self._past[0], question)


@dataclass(frozen=True)
class Ablation:
    """What is falsified, and on which disturbance it is tried."""

    name: str
    title: str
    disturb: str


ABLATIONS = (
    Ablation("gate", "gate shut after frame 1", "jump"),
    Ablation("static", "static tokens of another scene", "none"),
    Ablation("dynamic", "dynamic tokens of another time", "slide"),
    Ablation("instruction", "another cube named", "none"),
)
NAMES = tuple(ablation.name for ablation in ABLATIONS)


class Falsified(SdVla):
    """SdVla whose engine is made anew by `engine_of` whenever it forgets."""

    engine_of: Callable[[S2Model], Engine] = Engine

    def forget(self) -> None:
        super().forget()
        self.engine = self.engine_of(self.model)


def make(ablation: str, weights: str, threads: int, **options: Any) -> SdVla:
    """The policy of a configuration that `configured` has made. Raises WeightsError."""
    policy = Falsified.from_weights(weights, threads=threads, **options)
    assert isinstance(policy, Falsified)
    return falsify(policy, ablation)


def configured(config: Config, ablation: str) -> Config:
    """The same robot with this part of its System 2 falsified.

    Raises:
        ConfigError: its System 2 is none that we could take apart.
    """
    given = config.s2
    if given is None or given.policy != "sdvla":
        raise ConfigError("ablations take `s2.policy: sdvla` apart; this configuration has another")
    cache = given.cache
    options = {
        "ablation": ablation,
        "camera": given.cameras[0],
        "strategy": cache.strategy,
        "thresholds": cache.thresholds,
        "max_age_frames": cache.max_age_frames,
        **given.options,
    }
    replace = msgspec.structs.replace
    return replace(config, s2=replace(given, policy=f"{__name__}:make", options=options))


def falsify(policy: Falsified, name: str, size_px: int = 128) -> SdVla:
    """Replace one part of a policy; "instruction" is falsified by who asks, not here."""
    match name:
        case "gate":
            intact = policy.recache
            policy.recache = ShutGate(intact.thresholds, intact.hysteresis, max_age_frames=1 << 62)
        case "static":
            camera = policy.spec.cameras[0]
            with torch.inference_mode():
                foreign = policy.model.features(_other_scene(camera, size_px))
            policy.engine_of = partial(ForeignStatics, foreign=foreign)
        case "dynamic":
            policy.engine_of = LateDynamics
        case "instruction":
            pass
        case _:
            raise ValueError(f"no ablation is called {name!r}; there are {', '.join(NAMES)}")
    policy.forget()
    return policy


def _other_scene(camera: str, size_px: int) -> Tensor:
    """[1, H, W, 3] uint8: a scene with the same number of cubes, elsewhere."""
    world = World(seed=_OTHER_SCENE, render_size=size_px)
    try:
        return torch.from_numpy(world.render(camera).copy())[None]
    finally:
        world.close()
