"""A checkpoint with SD-VLA's fine-tuned parts around it (policies/caches/sdvla), as a `Mind`."""

import torch
from tandem.policies.caches import cost
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla.decision import Verdict
from tandem.policies.caches.sdvla.model import SdVla
from tandem.policies.caches.sdvla.stream import Step, Stream
from tandem.policies.caches.stages import Stages
from tandem.policies.caches.strategy import Image
from tandem.policies.vla.eyes import Eyes
from tandem.policies.vla.families import Family
from tandem.policies.vla.mind import Thought
from tandem.policies.vla.words import Words
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import ConfigError, RefusedError
from torch import Tensor


class FineTuned:
    """BOS and read-out tokens are the parts' own; of the prompt only the words after the pictures.

    They are filled up at the front with `pad_token` to the length that was trained. Where a prompt
    ends in empty slots for actions, the parts' read-out tokens stand in their place.
    """

    def __init__(
        self, eyes: Eyes, model: SdVla, recache: Recache, pad_token: int, family: Family
    ) -> None:
        """
        Raises:
            ConfigError: the parts were trained for another number of patches or levels, or have no
                place for the arm's state.
        """
        _check_state(family, model)
        patches = model.gate.patches
        if patches != eyes.patches:
            raise ConfigError(
                f"these SD-VLA parts look at {patches} patches, s2.cameras and this checkpoint "
                f"make {eyes.patches}; list the cameras that they were trained with"
            )
        if len(recache.thresholds) != model.levels:
            raise ConfigError(
                f"these SD-VLA parts have {model.levels} static levels; give s2.cache.thresholds "
                f"as many numbers, not {len(recache.thresholds)}"
            )
        self.width = model.trunk.config.width
        self._eyes, self._model, self._recache, self._pad = eyes, model, recache, pad_token
        self._stages = Stages(model.readout.device)
        self._text: Tensor | None = None
        self.forget()

    def ask(self, words: Words) -> None:
        """Raises RefusedError: more tokens than were trained."""
        room = self._model.layout.text
        spare = room - len(words.tail)
        if spare < 0:
            raise RefusedError(
                f"the instruction makes {len(words.tail)} tokens, these SD-VLA parts were trained "
                f"with {room}; say it shorter"
            )
        tokens = [self._pad] * spare + words.tail
        self._text = torch.tensor(tokens, device=self._model.readout.device)
        self._stream.instruct(self._text)

    def tell(self, words: Words, state: Tensor) -> None:
        """The text is last, and computed in every step."""
        self.ask(words)

    def look(self, images: Image, t_capture_ns: int) -> Thought:
        stages = self._stages
        with stages("vision"):
            features = self._eyes.look(images)
        with stages("trunk"):
            step = self._stream.step(features, t_capture_ns / NS_PER_S)
        spent_s = stages.take()
        return self._thought(step, {k: round(s * NS_PER_S) for k, s in spent_s.items() if s})

    def forget(self) -> None:
        fresh = Recache(
            self._recache.thresholds, self._recache.hysteresis, self._recache.max_age_frames
        )
        self._stream = Stream(self._model, fresh)
        self._version = [0] * self._model.levels
        if self._text is not None:
            self._stream.instruct(self._text)

    def _thought(self, step: Step, timings_ns: dict[str, int]) -> Thought:
        verdict, levels = step.verdict, range(self._model.levels)
        refreshed = [verdict.top is not None and level >= verdict.top for level in levels]
        self._version = [v + done for v, done in zip(self._version, refreshed, strict=True)]
        return Thought(
            step.hidden,
            list(self._version),
            list(self._stream.decision.recache.age_frames),
            verdict.scores,
            refreshed,
            self._macs(verdict),
            self._macs(Verdict(0, [], 0)),
            timings_ns,
        )

    def _macs(self, verdict: Verdict) -> int:
        model, layout = self._model, self._model.layout
        held = len(self._stream.engine.window.frames)
        fresh = verdict.top is not None
        everything = fresh or model.geometry.mode == "recompute_window"
        static = sum(layout.levels[verdict.top :]) if fresh else 0
        visual = static + layout.dynamic * (held if everything else 1)
        rows = visual + layout.readout + (0 if layout.text_first else layout.text)
        config = model.trunk.config
        projected = (static + layout.dynamic) * cost.linear(model.projector)
        trunk = sum(cost.trunk(config, [rows] * config.depth, layout.rows))
        return self._eyes.macs(self._eyes.patches) + projected + trunk + verdict.macs


def _check_state(family: Family, model: SdVla) -> None:
    """Raises ConfigError: a state that changes with every frame would have to be kept."""
    if family.state_row:
        raise ConfigError(
            "SD-VLA's fine-tuned parts know tokens only, and this checkpoint is told the arm's "
            "state as a row of its own; set s2.options.proprio to skip, as they were trained, or "
            "take s2.options.partition motion"
        )
    if family.state_words and model.layout.text_first:
        raise ConfigError(
            "these SD-VLA parts were trained with the text before the pictures, and this "
            "checkpoint's text holds the arm's state: nothing behind it could be kept for a "
            "single frame. Train parts that have the text last"
        )
