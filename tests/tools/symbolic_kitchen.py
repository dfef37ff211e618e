"""The memory task without physics: sub-goals take the time that they take, and always work."""

import numpy as np
from tandem.drivers.sim import kitchen_scene as cell
from tandem.drivers.sim.kitchen import KitchenTruth
from tandem.policies.memory.subgoals import BURNER, SubGoal
from tandem.tools.memory.hands import place_xy
from tandem.tools.memory.judge import Book, Verdict, judge
from tandem.tools.memory.minds import TICK_S, Look, Mind

_STEP_S = 0.25
_CARRIED_M = 0.2


class SymbolicKitchen:
    def __init__(self, seed: int) -> None:
        self.layout = cell.random_kitchen(seed)
        self.t_s, self.book = 0.0, Book()
        self.cans = np.column_stack([self.layout.cans, np.full(2, cell.standing_z_m())])
        self.held: int | None = None
        self.busy_until_s = 0.0

    def truth(self) -> KitchenTruth:
        x = [self.held == can for can in range(2)]
        return KitchenTruth(self.t_s, self.cans.copy(), (False, False), (x[0], x[1]), (True, True))

    def look(self) -> Look:
        return Look(
            t_s=self.t_s,
            free=self.t_s >= self.busy_until_s,
            holding=self.held is not None,
            truth=self.truth(),
            tool_m=np.zeros(3),
            book=self.book,
            places=self.layout.places,
            image=lambda: np.zeros((1, 1, 3), np.uint8),
        )

    def follow(self, goal: SubGoal) -> None:
        if goal.verb == "grasp" and self.held is None:
            self.held = self._can_at(goal.place)
            if self.held is not None:
                self.cans[self.held, 2] = _CARRIED_M
                self.busy_until_s = self.t_s + 1.0
        elif goal.verb == "place" and self.held is not None:
            self.cans[self.held] = [*place_xy(goal.place), cell.standing_z_m(goal.place == BURNER)]
            self.busy_until_s = self.t_s + (0.1 if goal.place == BURNER else 2.0)
            self.held = None

    def _can_at(self, place: int) -> int | None:
        away = np.hypot(*(self.cans[:, :2] - place_xy(place)).T)
        return int(away.argmin()) if away.min() < 0.05 else None


def play(mind: Mind, seed: int, seconds: int, limit_s: float = 120.0) -> Verdict:
    kitchen = SymbolicKitchen(seed)
    mind.begin(seconds, np.random.default_rng([seed, 3]))
    per_tick = round(TICK_S / _STEP_S)
    for step in range(round(limit_s / _STEP_S)):
        kitchen.t_s = step * _STEP_S
        if step % per_tick == 0:
            look = kitchen.look()
            goal = mind.decide(look)
            if look.free:
                kitchen.follow(goal)
        kitchen.book.see(kitchen.truth())
        if kitchen.book.finished:
            break
    return judge(kitchen.book.heatings, kitchen.layout.cans, seconds)
