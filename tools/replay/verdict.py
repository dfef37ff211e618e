"""What a replay found: decisions compared, those that differ, and by how much."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from tandem.runtime.messages import Message


@dataclass(frozen=True)
class Difference:
    """One decision that came out otherwise."""

    number: int
    t_ns: int
    what: str


@dataclass
class Verdict:
    """`largest` is the largest difference of numbers that was seen, tolerated or not."""

    part: str
    tolerance: float = 0.0
    compared: int = 0
    largest: float = 0.0
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def compare(self, recorded: Message, replayed: Message | None, fields: tuple[str, ...]) -> None:
        """Field by field; arrays within the tolerance, to the last bit if that is 0."""
        self.compared += 1
        if replayed is None:
            self.differ(recorded, "was not decided at all")
            return
        told = [self._field(name, recorded, replayed) for name in fields]
        if any(told):
            self.differ(recorded, "; ".join(filter(None, told)))

    def near(self, what: str, decision: Message, before: np.ndarray, after: np.ndarray) -> None:
        """Whether what followed from a decision is within the tolerance."""
        apart = float(np.abs(before - after).max())
        self.largest = max(self.largest, apart)
        if not apart <= self.tolerance:
            self.differ(decision, f"{what} differs by up to {apart:.3g}")

    def differ(self, recorded: Message, what: str) -> None:
        self.differences.append(Difference(recorded.seq, recorded.t_ns, what))

    def _field(self, name: str, recorded: Message, replayed: Message) -> str:
        before, after = getattr(recorded, name), getattr(replayed, name)
        if isinstance(before, list) and isinstance(after, list):
            before, after = np.array(before), np.array(after)
        if not isinstance(before, np.ndarray):
            return "" if before == after else f"{name} was {before}, is {after}"
        if before.shape != after.shape:
            return f"{name} was {before.shape}, is {after.shape}"
        if before.tobytes() == after.tobytes():
            return ""
        apart = float(np.abs(before.astype(float) - after.astype(float)).max())
        self.largest = max(self.largest, apart)
        within = np.isfinite(apart) and 0 < apart <= self.tolerance
        return "" if within else f"{name} differs by up to {apart:.3g}"

    def lines(self, shown: int = 10) -> list[str]:
        """For people."""
        differ, same = len(self.differences), self.compared - len(self.differences)
        exactly = "to the last bit" if not self.largest else f"within {self.largest:.3g}"
        told = [
            f"{self.part}: {self.compared} decisions, {same} the same {exactly}, {differ} differ"
        ]
        told += [f"  {d.number} at {d.t_ns}: {d.what}" for d in self.differences[:shown]]
        if differ > shown:
            told.append(f"  and {differ - shown} more")
        return told + [f"  note: {note}" for note in self.notes]

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found
