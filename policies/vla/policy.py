"""`Vla`: a user's own checkpoint as System 2. Pictures and an instruction in, Conditioning out."""

import numpy as np
import torch
from tandem.policies.caches.strategy import Image
from tandem.policies.vla.eyes import Eyes
from tandem.policies.vla.loading import Readout
from tandem.policies.vla.mind import Mind
from tandem.policies.vla.proprio import Proprio
from tandem.policies.vla.words import Prompter
from tandem.runtime.errors import DeviceError, RefusedError
from tandem.runtime.interfaces import Array, Frame, Observation, S2Spec
from tandem.runtime.messages import Conditioning

_REHEARSED = 3  # steps: whole, cached, and with something changed


class Vla:
    """Keys and values survive frames and instructions: `reset` only changes the question."""

    def __init__(
        self,
        mind: Mind,
        eyes: Eyes,
        prompter: Prompter,
        readout: Readout,
        spec: S2Spec,
        state: Proprio | None = None,
    ) -> None:
        """state: of the arm, for a checkpoint that is told it in every step."""
        self.spec = spec
        self._state, self._instruction = state, ""
        self._mind, self._eyes, self._prompter, self._readout = mind, eyes, prompter, readout
        self._asked = False
        self._rehearse()

    @torch.no_grad()
    def reset(self, instruction: str) -> None:
        """Another question. Raises RefusedError: it has no words, or too many."""
        # A 1 has the longest bin: whatever the arm's state will be, its words fit.
        most = None if self._state is None else np.ones(self._state.count)
        self._mind.ask(self._prompter.words(instruction, most))
        self._instruction, self._asked = instruction, True

    def forget(self) -> None:
        """Drops all that was seen; the next step starts from nothing."""
        self._mind.forget()

    @torch.no_grad()
    def step(self, obs: Observation) -> Conditioning:
        """The newest picture of each camera.

        Raises:
            RefusedError: no instruction yet.
            DeviceError: a camera's image is missing, or the arm's state.
        """
        if not self._asked:
            raise RefusedError("S2 has no instruction yet; call reset(instruction) first")
        frames = self._frames(obs)
        if self._state is not None:
            self._tell(self._state(obs.state))
        newest = max(frames, key=lambda frame: frame.t_capture_ns)
        images = self._eyes.seen([frame.image for frame in frames])
        thought = self._mind.look(images, newest.t_capture_ns)
        return Conditioning(
            valid=True,
            latent=self._readout(thought.hidden).half().numpy(),
            latent_id=self.spec.latent_id,
            instruction_id=0,  # the process that carries the instruction fills it in
            t_capture_ns=newest.t_capture_ns,
            frame_seq=newest.seq,
            version=thought.version,
            age_frames=thought.age_frames,
            gate=thought.gate,
            refreshed=thought.refreshed,
            macs=thought.macs,
            macs_full=thought.macs_full,
            timings_ns=thought.timings_ns,
        )

    def _tell(self, state: Array) -> None:
        words = self._prompter.words(self._instruction, state)
        self._mind.tell(words, torch.from_numpy(state))

    def _frames(self, obs: Observation) -> list[Frame]:
        missing = [name for name in self.spec.cameras if name not in obs.images]
        if missing:
            raise DeviceError(f"S2 needs camera '{missing[0]}', got {sorted(obs.images)}")
        return [obs.images[name] for name in self.spec.cameras]

    def _rehearse(self) -> None:
        """Every kind of step once, so that the first that counts is not the slow one.

        Libraries choose their kernels and graphs are recorded; nothing of it is remembered.
        """
        self.reset("rehearse")
        shape = (len(self.spec.cameras), self._eyes.size, self._eyes.size, 3)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        for frame in range(_REHEARSED):
            if self._state is not None:
                self._tell(np.zeros(self._state.count, np.float32))
            self._mind.look(_changed(images, frame), frame)
        self._mind.forget()
        self._asked = False


def _changed(images: Image, frame: int) -> Image:
    """The last one differs, in a corner."""
    images = images.copy()
    if frame == _REHEARSED - 1:
        side = images.shape[1] // 4
        images[:, :side, :side] = 0
    return images
