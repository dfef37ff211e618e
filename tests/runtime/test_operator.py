"""The operator in the executor: the automatic fall-back on every rung, lost links, hand-overs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.runtime.clock import NS_PER_MS

from tests.runtime.executor_cell import (
    HOME,
    Cell,
    D,
    engaged,
    is_smooth,
    rest_ticks,
    seated,
)

INPUT_MS = 10
FRAMES = {"joint": D, "base": 6, "tool": 6}


def sitting(cell: Cell, ticks: int, **fields) -> None:
    """The operator's stream at its rate, every second tick."""
    for tick in range(ticks):
        if tick % 2 == 0:
            cell.operate(**fields)
        cell.tick()


def conditioning_is_old(cell, mover):
    mover.born_ns = cell.clock.now_ns()
    return mover.tick


def starved(cell, mover):
    return cell.tick


# -- the automatic fall-back -----------------------------------------------------------------------


@pytest.mark.parametrize("rung", [conditioning_is_old, starved])
@pytest.mark.parametrize("present", [True, False])
def test_on_every_rung_a_present_operator_is_given_the_arm_and_an_absent_one_is_called(
    rung, present
):
    cell, mover = engaged()
    seated(cell)
    tick = rung(cell, mover)
    while cell.mode == "policy":
        cell.operate(want="standby", deadman=present)
        tick()
    called = [text for text in cell.events() if "tandem teleop" in text]
    assert (cell.mode, len(called)) == (("teleop", 0) if present else ("hold", 1))
    stamps_ns = [record.knot.t_ns for record in cell.records[-300:]]
    gaps_ns = {int(gap_ns) for gap_ns in np.diff(stamps_ns)}
    assert gaps_ns == {5 * NS_PER_MS}, "no pause in the command stream"
    is_smooth(cell)


@pytest.mark.parametrize("fields", [{"lease": "bob"}, {"deadman": False}])
def test_nobody_else_is_fallen_back_to(fields):
    cell, _ = engaged()
    seated(cell)
    while cell.mode == "policy":
        cell.operate(want="standby", **fields)
        cell.tick()
    assert cell.mode == "hold"


def test_after_a_fall_back_the_policy_comes_back_only_when_asked_for():
    cell, mover = engaged()
    seated(cell)
    while cell.mode == "policy":
        cell.operate(want="standby")
        cell.tick()
    for _ in range(100):
        cell.operate(0.1 * np.ones(D), want="standby")
        mover.tick()
    assert cell.mode == "teleop", "however many plans arrive"
    assert "let go first" in cell.ask("go", "move").text
    sitting(cell, 80, want="standby", deadman=False)
    assert cell.ask("go", "move").ok
    mover.tick(80)
    assert cell.mode == "policy"
    is_smooth(cell)


def test_whatever_else_ends_the_policy_calls_for_an_operator_but_no_request_does():
    cell, mover = engaged()
    cell.stall(0.15)
    mover.tick()
    assert cell.mode == "hold"
    assert any("tandem teleop" in text for text in cell.events())
    cell, _ = engaged()
    cell.ask("hold")
    assert cell.mode == "hold"
    assert not any("tandem teleop" in text for text in cell.events())


# -- lost links ------------------------------------------------------------------------------------


def test_a_silent_link_slows_at_once_and_a_hand_that_still_presses_must_let_go_first():
    cell = seated(Cell())
    cell.tick(3)
    sitting(cell, 100, velocity=0.5 * np.ones(D))
    silent_s = cell.now_s
    cell.tick(60)
    assert cell.mode == "hold"
    t_s, _, dq, _ = cell.followed()
    slower = t_s[(t_s > silent_s - 0.1) & (dq[:, 0] < 0.5 - 1e-3)]
    assert slower[0] - silent_s < (3 * INPUT_MS + 15) / 1e3, "three inputs, and what is under way"
    assert rest_ticks(cell) == 0
    sitting(cell, 40, velocity=0.5 * np.ones(D))
    assert cell.mode == "hold", "a link that comes back moves nothing"
    sitting(cell, 4, deadman=False)
    sitting(cell, 4, velocity=0.5 * np.ones(D))
    assert cell.mode == "teleop"
    is_smooth(cell)


def test_a_closed_link_ends_the_lease_and_the_motion_in_the_same_tick(monkeypatch):
    """And nobody who has only just sat down loses the lease for the end of another's link."""
    cell = seated(Cell())
    cell.tick(3)
    sitting(cell, 100, velocity=0.5 * np.ones(D))
    closed = iter((True,))
    monkeypatch.setattr(cell.executor._operator, "hung_up", lambda: next(closed, False))
    last = cell.executor.setpoint.last.dq
    cell.tick()
    assert cell.mode == "hold"
    assert (cell.executor.setpoint.last.dq < last).all(), "the next knot is slower already"
    cell.tick()
    assert cell.state.operator is None
    assert any("release_lease ann: its link was closed" in text for text in cell.events())
    assert rest_ticks(cell) * 5 <= 300
    is_smooth(cell)
    seated(cell)
    monkeypatch.setattr(cell.executor._operator, "hung_up", lambda: True)
    cell.tick(2)
    assert cell.state.operator == "ann"


def test_the_lease_of_one_who_has_gone_ends_by_itself():
    cell = seated(Cell())
    cell.tick()
    assert cell.state.operator == "ann"
    for _ in range(6):
        cell.stall(1)
        cell.tick()
    assert cell.state.operator is None


def test_at_the_highest_speed_every_stop_fits_into_300_ms():
    cell = seated(Cell())
    cell.tick(3)
    sitting(cell, 40, velocity=9 * np.ones(D))
    assert abs(cell.executor.setpoint.last.dq).max() <= 1 + 1e-9
    cell.operate(deadman=False)
    cell.tick()
    assert rest_ticks(cell) * 5 <= 300
    is_smooth(cell)


# -- hand-overs ------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    moment=st.integers(0, 300),
    frame=st.sampled_from(sorted(FRAMES)),
    speed=st.floats(-1, 1),
    driven=st.integers(1, 120),
    hold=st.integers(0, 60),
)
def test_hand_overs_at_any_moment_are_continuous(moment, frame, speed, driven, hold):
    """Policy → operator → policy: velocity and acceleration keep the arm's laws in every ms."""
    cell, mover = engaged(seconds=1.0)
    seated(cell)
    mover.tick(moment)
    cell.operate(np.full(FRAMES[frame], speed), frame)
    asked_ns = cell.clock.now_ns()
    mover.tick()
    assert cell.mode == "teleop"
    assert cell.clock.now_ns() - asked_ns <= 2 * 5 * NS_PER_MS, "in control within two ticks"
    sitting(cell, driven, velocity=np.full(FRAMES[frame], speed), frame=frame)
    sitting(cell, hold + 80, deadman=False)
    assert cell.mode == "hold"
    reply = cell.ask("go", "move")
    mover.tick(100)
    assert not reply.ok or cell.mode == "policy", cell.state.holding_for
    is_smooth(cell)


def test_a_hundred_hand_overs_at_random_moments_are_seamless():
    """Half of them and more in fast motion; every millisecond is held against the arm's limits."""
    rng, speeds = np.random.default_rng(0), []
    cell, mover = engaged(seconds=1.0, size=0.6)
    seated(cell)
    while len(speeds) < 100:
        mover.tick(int(rng.integers(60, 180)))
        assert cell.mode == "policy", cell.state.holding_for
        speeds.append(abs(cell.executor.setpoint.last.dq).max())
        hand = rng.uniform(-0.3, 0.3, D)
        cell.operate(hand)
        asked_ns = cell.clock.now_ns()
        mover.tick()
        assert cell.mode == "teleop"
        assert cell.clock.now_ns() - asked_ns <= 2 * 5 * NS_PER_MS
        sitting(cell, int(rng.integers(4, 30)), velocity=hand)
        home = 3 * (HOME - cell.executor.setpoint.last.q)  # away from limits
        sitting(cell, 40, velocity=np.clip(home, -0.8, 0.8))
        sitting(cell, 40, deadman=False)
        assert cell.ask("go", "move").ok
        mover.tick(2)
    assert sum(speed > 0.3 for speed in speeds) >= 50
    is_smooth(cell)
