"""One episode of the memory task, in lockstep: hands, a mind at 2 Hz, and the book of the judge."""

from collections.abc import Callable
from dataclasses import dataclass

from tandem.drivers.sim.kitchen import Kitchen
from tandem.policies.memory.subgoals import SECONDS, SubGoal
from tandem.tools.evaluate.seeds import stream
from tandem.tools.memory.hands import Hands
from tandem.tools.memory.judge import Book, Verdict, judge
from tandem.tools.memory.minds import TICK_S, Look, Mind
from tandem.tools.memory.work import Kept
from tandem.tools.train.reach import STEP_S

TIME_LIMIT_S = 60.0
CAMERA = "front"
_STEPS_PER_TICK = round(TICK_S / STEP_S)

Watch = Callable[[Look, SubGoal], None]


@dataclass(frozen=True)
class Episode:
    """What came of it."""

    seed: int
    seconds: int
    verdict: Verdict
    t_s: float  # simulated
    decisions: int
    kept: Kept | None = None  # of a learned policy


def seconds_for(seed: int) -> int:
    """For how long the cans of this episode are to be heated."""
    return int(stream(seed, "seconds").choice(SECONDS))


class Play:
    """One kitchen that plays episode after episode; a mind looks every `look_s` and decides every
    TICK_S."""

    def __init__(self, kitchen: Kitchen, look_s: float = TICK_S) -> None:
        self.kitchen, self.hands = kitchen, Hands(kitchen)
        self._steps_per_look = round(look_s / STEP_S)

    def run(
        self, mind: Mind, seed: int, watch: Watch | None = None, rest_s: float = 0.0
    ) -> Episode:
        """Play episode `seed`; `watch` is shown every look and what was decided.

        It ends `rest_s` after the last can has been put back, or at TIME_LIMIT_S.
        """
        layout = self.kitchen.reset(seed)
        self.hands.begin()
        seconds, book = seconds_for(seed), Book()
        mind.begin(seconds, stream(seed, "mind"))
        decisions = step = 0
        over = round(TIME_LIMIT_S / STEP_S)
        while step < over:
            if step % self._steps_per_look == 0:
                decisions += self._look(mind, book, watch, due=step % _STEPS_PER_TICK == 0)
            self.hands.step()
            book.see(self.kitchen.truth())
            step += 1
            if book.finished and self.hands.free:
                over = min(over, step + round(rest_s / STEP_S))
        verdict = judge(book.heatings, layout.cans, seconds)
        return Episode(seed, seconds, verdict, step * STEP_S, decisions)

    def _look(self, mind: Mind, book: Book, watch: Watch | None, due: bool) -> bool:
        """Show it to the mind; True when its answer counted."""
        look = Look(
            t_s=self.kitchen.t_s,
            free=self.hands.free and due,
            holding=self.hands.holding,
            truth=self.kitchen.truth(),
            tool_m=self.kitchen.tool_pose()[:3, 3],
            book=book,
            places=self.kitchen.layout.places,
            image=lambda: self.kitchen.render(CAMERA).copy(),
        )
        goal = mind.decide(look)
        if watch is not None:
            watch(look, goal)
        if look.free:
            self.hands.take_up(goal)
        return look.free
