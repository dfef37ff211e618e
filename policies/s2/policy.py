"""`SdVla`: System 2 as the runtime sees it. One image in, one Conditioning out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.strategy import Image
from tandem.policies.s2 import macs, rivals
from tandem.policies.s2.engine import Engine, Reading
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.patchwise import Patchwise
from tandem.policies.s2.storage import load_model, read_about
from tandem.policies.s2.text import encode
from tandem.runtime.errors import DeviceError, RefusedError
from tandem.runtime.interfaces import Frame, Observation, S2Spec
from tandem.runtime.messages import Conditioning
from torch import Tensor

Strategy = Literal["sdvla", "none", "fixed_interval", "vla_cache", "ttf", "lac", "dual_cache"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True)
class Seen:
    """One frame through the trunk, and how much of each static level was computed for it."""

    reading: Reading
    version: list[int]
    age_frames: list[int]
    gate: list[float]
    refreshed: list[bool]
    macs: macs.Macs
    frames: int  # held


class SdVla:
    """The gated cache around the model (`strategy` "sdvla"), everything anew ("none"), or a rival.

    "fixed_interval" refreshes every `max_age_frames` and never looks; the others keep single patch
    rows by a rule of their own (`rivals.py`), which knows neither thresholds nor ages.

    Keys and values survive frames and instructions: `reset` only changes the question, which costs
    one cached step. Torch is told to use `threads` threads in this process, for S2 has a process to
    itself.
    """

    def __init__(
        self,
        model: S2Model,
        latent_id: str,
        camera: str = "front",
        strategy: Strategy = "sdvla",
        thresholds: Sequence[float] = Recache.thresholds,
        max_age_frames: int = Recache.max_age_frames,
        hysteresis: float = Recache.hysteresis,
        threads: int | None = 1,
        lac_weights: str | Path = rivals.LAC_WEIGHTS,
    ) -> None:
        if strategy not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            raise RefusedError(f"cache strategy '{strategy}' is unknown; use one of {known}")
        if threads is not None:
            torch.set_num_threads(threads)
        config = model.config
        self.spec = S2Spec(latent_id, (config.latent_tokens, config.latent_width), (camera,))
        self.model = model
        self.strategy = strategy
        self.recache = Recache(thresholds, hysteresis, max_age_frames)
        self.engine = Engine(model)
        self._lac_weights = lac_weights
        self.rival = self._rival()
        self._camera = camera
        self._question: Tensor | None = None
        self._gate_references: list[Tensor] = []
        self._clock = Stopwatch()
        self.spent = macs.Macs(0, 0, 0, 0, 0)  # in the last step

    @classmethod
    def from_weights(cls, weights: str | Path, **options: object) -> "SdVla":
        """Loads shipped weights by name, or from a path. Raises WeightsError."""
        about = read_about(weights)
        return cls(load_model(weights), about["latent_id"], **options)  # type: ignore[arg-type]

    @torch.inference_mode()
    def reset(self, instruction: str) -> None:
        """Changes what is asked. Raises RefusedError for an instruction it does not understand."""
        self._question = self.model.tokens.question(torch.from_numpy(encode(instruction))[None])

    def forget(self) -> None:
        """Drops all that was seen; the next step starts from nothing."""
        self.engine = Engine(self.model)
        self.rival = self._rival()
        self._gate_references = []

    @torch.inference_mode()
    def step(self, obs: Observation, force_refresh: int | None = None) -> Conditioning:
        """One frame. `force_refresh`: level from which to refresh, whatever the gate says.

        Raises:
            RefusedError: no instruction yet.
            DeviceError: the camera's image is missing or has another size.
        """
        if self._question is None:
            raise RefusedError("S2 has no instruction yet; call reset(instruction) first")
        frame = self._frame(obs)
        self._clock.start()
        features = self.model.features(torch.from_numpy(frame.image)[None])
        self._clock.lap("vision")
        if self.rival is not None:
            seen = self._patchwise(self.rival, frame.image, features, force_refresh is not None)
        else:
            seen = self._gated(features, force_refresh)
        self.spent = seen.macs
        latent = self._latent(seen.reading)
        self._clock.lap("readout")
        return Conditioning(
            valid=True,
            latent=latent,
            latent_id=self.spec.latent_id,
            instruction_id=0,  # the process that carries the instruction fills it in
            t_capture_ns=frame.t_capture_ns,
            frame_seq=frame.seq,
            version=seen.version,
            age_frames=seen.age_frames,
            gate=seen.gate,
            refreshed=seen.refreshed,
            macs=seen.macs.total,
            macs_full=macs.step(self.model.config, 0, seen.frames, gated=False).total,
            timings_ns=self._clock.laps,
        )

    def _latent(self, reading: Reading) -> np.ndarray:
        """[K, D] float16"""
        readout = self.model.readout
        pointed = readout.pointer.point(reading.readouts[:, :1], reading.keys, reading.values)[1]
        raw = readout.raw(reading.readouts[:, None], pointed)
        return readout.normalised(raw)[0, 0].half().numpy()

    def _frame(self, obs: Observation) -> Frame:
        frame = obs.images.get(self._camera)
        if frame is None:
            raise DeviceError(f"S2 needs camera '{self._camera}', got {sorted(obs.images)}")
        side = self.model.config.image
        if frame.image.shape != (side, side, 3):
            raise DeviceError(
                f"camera '{self._camera}' gives {frame.image.shape}, S2 was trained on "
                f"({side}, {side}, 3); set its size in the configuration"
            )
        return frame

    def _rival(self) -> Patchwise | None:
        if self.strategy in ("sdvla", "none", "fixed_interval"):
            return None
        rule = rivals.rule(self.strategy, self.model.config, self._lac_weights)
        return Patchwise(self.model, rule)

    def _gated(self, features: Tensor, force: int | None) -> Seen:
        """Whole levels, when the gate says so."""
        assert self._question is not None
        scores, top = self._decide(features, force)
        self._clock.lap("gate")
        if top is not None:
            self._refresh(features, top)
        self._clock.lap("static")
        reading = self.engine.advance(features, self._question)
        self._clock.lap("trunk")
        frames, gated = self.engine.cache.filled, self.strategy == "sdvla"
        return Seen(
            reading,
            version=list(self.engine.cache.version),
            age_frames=list(self.recache.age_frames),
            gate=scores,
            refreshed=[top is not None and level >= top for level in range(len(scores))],
            macs=macs.step(self.model.config, top, frames, gated),
            frames=frames,
        )

    def _patchwise(self, rival: Patchwise, image: Image, features: Tensor, force: bool) -> Seen:
        """Single patches; the score of L2 is the share of its rows computed, over all layers."""
        assert self._question is not None
        if force:
            rival.rule.reset()  # a rule without a past computes everything
        step = rival.step(image, features, self._question, self._clock.lap)
        whole = min(step.anew) == self.model.config.patches
        rival.cache.version[0] += 1
        rival.cache.version[1] += whole
        return Seen(
            step.reading,
            version=list(rival.cache.version),
            age_frames=[0, int(rival.age_frames.max())],
            gate=[1.0, sum(step.anew) / (len(step.anew) * self.model.config.patches)],
            refreshed=[True, whole],
            macs=step.macs,
            frames=rival.cache.filled,
        )

    def _decide(self, features: Tensor, force: int | None) -> tuple[list[float], int | None]:
        """Scores per level, and the topmost level to refresh."""
        first = not self.engine.references
        if self.strategy == "none" or first:
            return [1.0, 1.0], self.recache.decide([1.0, 1.0], force=0)
        if self.strategy == "fixed_interval":
            return [0.0, 0.0], self.recache.decide([0.0, 0.0], force)
        now = self.model.gate.now(features)
        hidden = torch.cat([now - before for before in self._gate_references])
        # Row l was compared with the reference of level l: only its own head counts.
        scores: list[float] = torch.sigmoid(self.model.gate.mix(hidden).diagonal()).tolist()
        return scores, self.recache.decide(scores, force)

    def _refresh(self, features: Tensor, top: int) -> None:
        self.engine.refresh(features, top)
        if self.strategy == "sdvla":
            before = self.model.gate.before(features)
            kept = self._gate_references[:top]
            self._gate_references = [*kept, *(before for _ in range(top, 2))]


class Stopwatch:
    """Laps of one step in nanoseconds; those of the same name add up."""

    def __init__(self, now: Callable[[], int] = time.monotonic_ns) -> None:
        self._now = now
        self._since = 0
        self.laps: dict[str, int] = {}

    def start(self) -> None:
        self.laps = {}
        self._since = self._now()

    def lap(self, name: str) -> None:
        now = self._now()
        self.laps[name] = self.laps.get(name, 0) + now - self._since
        self._since = now
