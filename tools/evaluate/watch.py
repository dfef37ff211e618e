"""How System 2 followed the scene: refreshes per phase, and how soon each change was taken in.

A change is opened at the first frame on which the scene differs from that of the last refresh, and
closed by the next refresh. The very first frame fills the cache and is no refresh.
"""

from collections.abc import Callable

import numpy as np
from tandem.runtime.clock import NS_PER_S
from tandem.tools.evaluate.records import Change, Frames, Phase
from tandem.tools.evaluate.truth import Truth, changes, stirred
from tandem.tools.evaluate.visibility import VISIBLE_PX, changed_px

Look = Callable[[Truth], np.ndarray]


class SceneWatch:
    """Fed each frame that System 2 looked at, with the truth at that frame's capture."""

    def __init__(self, t_go_ns: int, look: Look) -> None:
        self._t_go_ns = t_go_ns
        self._look = look
        self._reference: Truth | None = None
        self._picture = np.zeros(0)
        self._open: Change | None = None
        self.phases: dict[str, Frames] = {}
        self.changes: list[Change] = []

    def see(self, truth: Truth, refreshed: list[bool]) -> None:
        if self._reference is None:
            self._refer(truth)
            return
        differing = changes(self._reference, truth)
        phase = self._phase(truth, bool(differing))
        self.phases.setdefault(phase, Frames()).add(refreshed)
        self._follow(truth, differing, any(refreshed))
        if any(refreshed):
            self._refer(truth)

    def _refer(self, truth: Truth) -> None:
        self._reference = truth
        self._picture = self._look(truth)

    def _phase(self, truth: Truth, differs: bool) -> Phase:
        assert self._reference is not None
        if differs:
            return "change"
        if truth.in_hand is not None:
            return "carry"
        return "nudge" if stirred(self._reference, truth) else "arm"

    def _follow(
        self, truth: Truth, differing: list[tuple[str, str | None]], refreshed: bool
    ) -> None:
        if not differing:
            self._open = None  # put back as it was, unnoticed
            return
        if self._open is None:
            t_s = (truth.t_ns - self._t_go_ns) / NS_PER_S
            self._open = Change(differing[0][0], t_s, visible=False)
            self.changes.append(self._open)
        change = self._open
        change.visible = change.visible or self._visible(truth, differing)
        change.frames_seen += change.visible
        if refreshed:
            change.frames_to_refresh = change.frames_seen if change.visible else None
            self._open = None

    def _visible(self, truth: Truth, differing: list[tuple[str, str | None]]) -> bool:
        if any(colour is None for _, colour in differing):
            return True  # the light is everywhere
        now = self._look(truth)
        colours = [colour for _, colour in differing if colour is not None]
        return any(changed_px(self._picture, now, colour) >= VISIBLE_PX for colour in colours)
