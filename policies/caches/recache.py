"""When to refresh which static level: gate scores, age and linkage, for any number of levels."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Recache:
    """Thresholds, hysteresis, linkage of the levels and a greatest age. One threshold a level.

    A score above the band around its threshold refreshes at once; one that is merely within the
    band must be seen on two frames running, so that a single noisy frame costs nothing. The band
    narrows towards 0 and 1, so that a threshold of 1 never fires.
    """

    thresholds: Sequence[float] = (0.5, 0.5)
    hysteresis: float = 0.2
    max_age_frames: int = 200
    age_frames: list[int] = field(init=False)
    _near: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        self.age_frames = [0] * len(self.thresholds)
        self._near = [False] * len(self.thresholds)

    def decide(self, scores: Sequence[float], force: int | None = None) -> int | None:
        """Topmost level to refresh, None for none; everything below it is refreshed with it.

        `force` asks for a refresh from that level, whatever the scores say.
        """
        self.age_frames = [age + 1 for age in self.age_frames]
        wanted = [self._wants(level, score) for level, score in enumerate(scores)]
        if force is not None:
            wanted[force] = True
        top = wanted.index(True) if any(wanted) else None
        if top is not None:
            for level in range(top, len(wanted)):
                self.age_frames[level] = 0
                self._near[level] = False
        return top

    def _wants(self, level: int, score: float) -> bool:
        threshold = self.thresholds[level]
        band = self.hysteresis * min(threshold, 1 - threshold)
        near = score > threshold - band
        sure = score > threshold + band
        wants = sure or (near and self._near[level])
        self._near[level] = near
        return wants or self.age_frames[level] >= self.max_age_frames
