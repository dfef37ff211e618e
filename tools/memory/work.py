"""What keeping the statics came to at work: refreshes, right and wrong ones, and multiply-adds."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from tandem.policies.memory.subgoals import SubGoal
from tandem.tools.memory.changes import moved, standing, where
from tandem.tools.memory.minds import Look

if TYPE_CHECKING:
    from tandem.policies.memory.policy import MemoryPolicy

Array = np.ndarray
_SOON = 2  # looks within which a change is answered


@dataclass(frozen=True)
class Kept:
    """Counts; they add up over episodes. An episode's first look refreshes all and is left out."""

    looks: int = 0
    refreshed_l1: int = 0
    refreshed_l2: int = 0  # L1 takes it along
    right: int = 0  # refreshes when cans stood elsewhere
    wrong: int = 0  # and when none did
    changes: int = 0  # times that a can came to stand elsewhere
    answered: int = 0  # of them, by a refresh within _SOON looks
    vision_macs: int = 0  # multiply-adds
    gate_macs: int = 0
    trunk_macs: int = 0
    trunk_anew_macs: int = 0  # the same questions with nothing kept but the frames' tokens

    @property
    def share(self) -> float:
        """Of the multiply-adds with nothing kept."""
        done = self.vision_macs + self.gate_macs + self.trunk_macs
        return done / (self.vision_macs + self.trunk_anew_macs)

    @property
    def trunk_share(self) -> float:
        """The same behind the stem, which sees every frame in any case."""
        return (self.gate_macs + self.trunk_macs) / self.trunk_anew_macs

    def __add__(self, other: "Kept") -> "Kept":
        names = [field.name for field in fields(self)]
        return Kept(**{name: getattr(self, name) + getattr(other, name) for name in names})


class KeptBook:
    """Follows one episode of a policy, look by look, with the simulator's truth beside it."""

    def __init__(self, policy: "MemoryPolicy") -> None:
        self._policy = policy
        self._reference: Array | None = None
        self._stale = 0  # looks since the statics have been behind
        self._count = dict.fromkeys((field.name for field in fields(Kept)), 0)

    def see(self, look: Look, _: SubGoal) -> None:
        """After the policy has looked."""
        now = standing(np.array([where(can) for can in look.truth.cans]))
        top = self._policy.refreshed
        if self._reference is None:
            self._reference = now
            return
        changed, sure = map(bool, moved(self._reference, now, np.array(look.holding)))
        # A can that is being put down may count as there, or not yet.
        self._tally(top, changed and (sure or top is not None))
        if top is not None:
            self._reference = now

    def kept(self) -> Kept:
        work = vars(self._policy.work)
        return Kept(**self._count | {f"{stage}_macs": count for stage, count in work.items()})

    def _tally(self, top: int | None, changed: bool) -> None:
        refreshed = top is not None
        self._stale = self._stale + 1 if changed else 0
        self._add("looks")
        self._add("refreshed_l1", top == 0)
        self._add("refreshed_l2", refreshed)
        self._add("right", refreshed and changed)
        self._add("wrong", refreshed and not changed)
        self._add("changes", self._stale == 1)
        self._add("answered", refreshed and 1 <= self._stale <= _SOON)
        if refreshed:
            self._stale = 0

    def _add(self, name: str, yes: bool = True) -> None:
        self._count[name] += yes
