"""The book of refreshes: changes answered or not, refreshes for nothing, sums over episodes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from tandem.policies.memory.policy import Work
from tandem.policies.memory.subgoals import BURNER, WAIT
from tandem.tools.memory.hands import place_xy
from tandem.tools.memory.work import Kept, KeptBook

from tests.tools.symbolic_kitchen import SymbolicKitchen

STANDING_Z_M, CARRIED_Z_M = 0.045, 0.2


def booked(
    story: list[tuple[int | None, int | None]], top_at: dict[int, int], holding_until: int = 0
) -> Kept:
    """story: where each of two cans stands at each look; None is in the hand. top_at: refreshes.

    holding_until: until that look the hand is around a can, high or low.
    """
    policy = SimpleNamespace(refreshed=0, work=Work(vision=8, gate=1, trunk=3, trunk_anew=12))
    book, look = KeptBook(policy), SymbolicKitchen(0).look()
    for i, places in enumerate(story):
        policy.refreshed = top_at.get(i)
        cans = [
            (*place_xy(place or 0), CARRIED_Z_M if place is None else STANDING_Z_M)
            for place in places
        ]
        truth = replace(look.truth, cans=np.array(cans))
        book.see(replace(look, truth=truth, holding=None in places or 0 < i < holding_until), WAIT)
    return book.kept()


def test_a_refresh_is_right_when_a_can_stands_elsewhere() -> None:
    story = [(2, 5), (2, 5), (None, 5), (BURNER, 5), (BURNER, 5), (None, 5), (2, 5)]
    kept = booked(story, {0: 0, 3: 1, 6: 1})
    assert (kept.looks, kept.refreshed_l1, kept.refreshed_l2) == (6, 0, 2)
    assert (kept.right, kept.wrong, kept.changes, kept.answered) == (2, 0, 2, 2)
    assert (kept.share, kept.trunk_share) == (12 / 20, 4 / 12)


def test_a_can_that_is_being_put_down_is_there_for_those_who_say_so() -> None:
    story = [(2, 5), (None, 5), (7, 5), (7, 5), (7, 5)]
    early, late = (booked(story, {0: 0, at: 1}, holding_until=3) for at in (2, 4))
    assert (early.right, early.wrong, early.changes, early.answered) == (1, 0, 1, 1)
    assert early == late


def test_late_missed_and_needless_refreshes_are_told_apart() -> None:
    story = [(2, 5), (2, 5), (7, 5), (7, 5), (7, 5), (7, 5), (8, 5)]
    late = booked(story, {0: 0, 1: 0, 4: 1})  # for nothing; three looks after the move; never
    assert (late.refreshed_l1, late.refreshed_l2) == (1, 2)
    assert (late.right, late.wrong, late.changes, late.answered) == (1, 1, 2, 0)
    soon = booked(story, {0: 0, 3: 1, 6: 0})
    assert (soon.right, soon.wrong, soon.changes, soon.answered) == (2, 0, 2, 2)
    assert late + soon == sum([late, soon], Kept())
    assert (late + soon).looks == 12
