"""What looks at pictures: a checkpoint as it is under a rule, or a fine-tuned SD-VLA."""

from dataclasses import dataclass
from typing import Protocol

from tandem.policies.caches import cost
from tandem.policies.caches.session import Reading, Session
from tandem.policies.caches.strategy import Image
from tandem.policies.vla import oft
from tandem.policies.vla.eyes import Seeing
from tandem.policies.vla.ledger import Ledger
from tandem.policies.vla.places import Room
from tandem.policies.vla.rules import Placed
from tandem.policies.vla.words import Words
from tandem.runtime.clock import NS_PER_S
from torch import Tensor


@dataclass(frozen=True)
class Thought:
    """One set of pictures, understood."""

    hidden: Tensor  # [readouts, width] after the trunk's final norm
    version: list[int]
    age_frames: list[int]
    gate: list[float]
    refreshed: list[bool]
    macs: int
    macs_full: int
    timings_ns: dict[str, int]


class Mind(Protocol):
    """Holds what one stream remembers; belongs to one thread."""

    width: int  # of the hidden states

    def ask(self, words: Words) -> None: ...  # another question
    def tell(self, words: Words, state: Tensor) -> None: ...  # the same, with the arm's state now
    def look(self, images: Image, t_capture_ns: int) -> Thought: ...  # [cameras, S, S, 3] uint8
    def forget(self) -> None: ...


class Ruled:
    """A checkpoint as it is, in a `Session`, with one rule."""

    def __init__(
        self, backbone: Seeing, room: Room, rule: Placed, projector: oft.Projector | None = None
    ) -> None:
        """projector: of the arm's state to a row, where the prompt has one."""
        self._backbone, self._room, self._rule = backbone, room, rule
        self._layout = room.layout()
        self.width = backbone.trunk.config.width
        self._session: Session | None = None
        self._words: Words | None = None
        self._projector = projector
        self._told_macs = cost.linear(projector) if projector else 0
        self._full = backbone.macs(self._whole()).total + self._told_macs
        self._ledger = self._fresh_ledger()

    def ask(self, words: Words) -> None:
        """Only text and read-out are other rows. Where pictures see the text, they are anew too."""
        prompt = self._room.prompt(words, self._backbone.trunk)
        self._rule.ask(words)
        if self._session is None:
            self._session = Session(self._backbone, self._layout, self._rule, prompt, speaks=False)
        self._session.prompt = prompt
        if self._room.mutual and words != self._words:
            self._session.reset()
        self._words, self._said = words, len(words.tail)

    def tell(self, words: Words, state: Tensor) -> None:
        """The arm's state stands among rows that every step computes anew, so none is kept of it.

        What a rule keeps of pictures that see the text has seen the state of then, as it has seen
        the other pictures of then. state [n], normalised.
        """
        assert self._session is not None
        if len(words.tail) != self._said:  # other rows are spare
            self._rule.ask(words)
            self._said = len(words.tail)
        row = None
        if self._projector is not None:
            weight = self._projector.fc1.weight
            row = self._projector(state.to(weight.device, weight.dtype))
        self._session.prompt = self._room.prompt(words, self._backbone.trunk, row)

    def look(self, images: Image, t_capture_ns: int) -> Thought:
        assert self._session is not None
        reading = self._session.step(images)
        self._ledger.note(reading.plan)
        spent_s = self._session.stages.take()
        return self._thought(reading, {k: round(s * NS_PER_S) for k, s in spent_s.items()})

    def forget(self) -> None:
        if self._session is not None:
            self._session.reset()
        self._ledger = self._fresh_ledger()

    def _thought(self, reading: Reading, timings_ns: dict[str, int]) -> Thought:
        ledger = self._ledger
        return Thought(
            reading.hidden,
            list(ledger.version),
            ledger.age_frames,
            list(ledger.share),
            list(ledger.refreshed),
            self._backbone.macs(reading.work).total + self._told_macs,
            self._full,
            timings_ns,
        )

    def _fresh_ledger(self) -> Ledger:
        return Ledger(self._layout, self._backbone.trunk.config.depth)

    def _whole(self) -> cost.Work:
        """A step that computes all pictures anew."""
        layout = self._layout
        rows = self._room.visual + layout.text + layout.readout
        return cost.Work(
            patches=self._room.visual,
            projected=self._room.visual,
            trunk=cost.rows_by_layer(self._backbone.trunk.config.depth, rows, {}),
            keys=layout.rows,
            watched=0,
            read=0,
            decided=0,
        )
