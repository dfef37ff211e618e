"""What the executor does when others fail, and who may drive then; a story per rule."""

from dataclasses import replace

import numpy as np
import pytest
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import SuspendedError
from tandem.runtime.interpolate import Motion

from tests.runtime.executor_cell import (
    HOME,
    SPEC,
    Cell,
    D,
    engaged,
    is_smooth,
    rest_ticks,
    seated,
    stands_at_home,
)

# -- the ladder ------------------------------------------------------------------------------------


def test_a_plan_that_runs_out_is_followed_to_its_end_and_held_there():
    cell, _ = engaged()
    end_q = cell.executor.pilot.plan.path.knots_q[-1]
    cell.until("hold")
    assert cell.state.holding_for == "starved: no further chunk has come"
    assert np.allclose(cell.executor.setpoint.last.q, end_q, atol=5e-3), "at the end of its path"
    assert any("tandem teleop" in text for text in cell.events()), "and somebody is asked for"
    assert any(s.holding_for == "the plan runs out" for s in cell.states)
    is_smooth(cell)


def test_ageing_conditioning_slows_then_holds():
    cell, mover = engaged()
    mover.born_ns = cell.clock.now_ns()
    paces = {}
    while cell.mode == "policy":
        mover.tick()
        paces[round((cell.clock.now_ns() - mover.born_ns) / NS_PER_MS)] = cell.state.pace
    assert paces[400] == 1
    assert 0.4 < paces[800] < 0.6
    assert "the conditioning is 1000 ms old" in cell.executor.status()["holding_for"]
    is_smooth(cell)


def test_a_lost_policy_hands_over_to_a_present_operator_without_a_jump():
    cell, _ = engaged()
    seated(cell)
    while cell.mode == "policy":
        cell.operate(want="standby")
        cell.tick()
    assert cell.mode == "teleop"
    for _ in range(40):
        cell.operate(0.1 * np.ones(D), want="standby")
        cell.tick()
    assert cell.mode == "teleop"
    assert np.allclose(cell.executor.setpoint.last.dq, 0.1, atol=1e-6)
    cell.tick(30)
    assert cell.mode == "hold", "nobody there any more"
    assert cell.state.holding_for == "the operator let go"
    is_smooth(cell)


def test_a_gap_in_the_ticks_brakes_and_needs_a_new_go():
    cell, mover = engaged()
    epoch = cell.executor.epoch
    cell.stall(0.15)
    mover.tick()
    assert cell.mode == "hold"
    assert "away for 15" in cell.state.holding_for
    assert cell.executor.epoch > epoch
    mover.tick(100)
    assert cell.mode == "hold"
    is_smooth(cell)


@pytest.mark.parametrize("late_s", [0.004, 0.008, 0.012, 0.02, 0.05, 0.09])
def test_a_late_tick_costs_no_step_and_motion_goes_on(late_s):
    cell, mover = engaged()
    for _ in range(6):
        cell.stall(late_s)
        mover.tick(37)
    assert cell.mode == "policy"
    assert (cell.arm.counters["starved"] > 0) == (late_s > 0.01)
    is_smooth(cell)


def test_a_user_stop_latches_a_fault_until_it_is_released_and_reset():
    cell, mover = engaged()
    cell.arm.interrupt("user_stop", "the button was pressed")
    cell.tick(2)
    assert (cell.mode, cell.executor.fault) == ("fault", "user_stop: the button was pressed")
    assert cell.state.fault == "user_stop: the button was pressed"
    mover.tick(100)
    assert "still stands" in cell.ask("reset").text
    cell.arm.release()
    mover.tick(20)
    assert cell.mode == "fault", "it latches"
    _goes_on_after_a_reset(cell, mover)


def test_the_arm_in_reflex_recovers_by_a_reset_and_by_nothing_else():
    cell, mover = engaged()
    cell.arm.interrupt("reflex", "joint 3 touched something")
    cell.tick(2)
    assert (cell.mode, cell.executor.fault) == ("fault", "reflex: joint 3 touched something")
    assert cell.ask("reset").text == "the cause still stands: the arm still moves"
    mover.tick(400)
    assert not cell.ask("go", "move").ok
    assert (cell.mode, cell.state.arm_status) == ("fault", "reflex")
    _goes_on_after_a_reset(cell, mover)


def test_an_arm_that_cannot_recover_stays_in_fault():
    cell, mover = engaged()
    cell.arm.interrupt("reflex", "joint 3 touched something")
    mover.tick(100)
    cell.arm.recover = lambda: None
    assert cell.ask("reset").ok
    mover.tick(1000)
    cell.arm.release()
    mover.tick(100)
    assert cell.mode == "fault", "the reset counts for the moment in which it was asked for"


def _goes_on_after_a_reset(cell, mover):
    assert cell.ask("reset").ok
    cell.until("hold", 10)
    assert cell.executor.fault is None
    assert cell.ask("go", "move").ok
    mover.tick(80)
    assert cell.mode == "policy"
    is_smooth(cell)


def test_an_arm_that_reports_nonsense_latches_a_fault():
    cell, _ = engaged()
    read = cell.arm.read
    cell.arm.read = lambda timeout_ns: replace(read(timeout_ns), q_d=np.full(D, np.nan))
    cell.tick(3)
    assert cell.executor.fault == "the arm reports numbers that are not finite"
    rest_ticks(cell)
    cell.arm.read = read
    cell.tick(3)
    assert cell.ask("reset").ok
    is_smooth(cell)


def test_a_silent_arm_latches_a_fault_and_brakes_by_itself():
    cell, _ = engaged()
    cell.arm.go_silent()
    cell.tick(30)
    assert cell.mode == "fault"
    cell.arm.go_silent(False)
    cell.tick(30)
    assert cell.mode == "fault"
    assert cell.ask("reset").ok
    cell.until("hold", 10)
    is_smooth(cell)


def test_a_silent_supervisor_is_a_reason_to_hold():
    cell, mover = engaged()
    cell.silence_ns = 3 * NS_PER_S
    mover.tick()
    assert cell.mode == "hold"
    assert cell.state.holding_for == "the supervisor has fallen silent"
    is_smooth(cell)


def test_a_suspended_computer_latches_a_fault():
    cell, _ = engaged()
    cell.asleep_ns += 20 * NS_PER_MS
    cell.tick()
    assert cell.mode == "fault"
    assert "suspended" in cell.executor.fault
    rest_ticks(cell)
    cell.tick(3)
    assert cell.ask("reset").ok
    is_smooth(cell)


def test_after_a_suspend_only_a_new_connection_to_the_arm_goes_on():
    cell, _ = engaged()
    cell.asleep_ns += 20 * NS_PER_MS
    with pytest.raises(SuspendedError, match="suspended"):
        cell.executor.run()
    assert cell.executor.setpoint.last.is_rest()


# -- the operator ----------------------------------------------------------------------------------


def test_the_operator_takes_over_from_the_policy_in_motion():
    cell, mover = engaged()
    seated(cell)
    before = cell.executor.setpoint.last
    cell.operate(np.zeros(D))
    mover.tick()
    assert cell.mode == "teleop"
    jerk = abs(cell.executor.setpoint.last.ddq - before.ddq) / 0.005
    assert (jerk <= SPEC.jerk_max).all()
    cell.tick(40)
    assert cell.mode == "hold"
    mover.tick(40)
    assert cell.mode == "hold", "back to the policy only on purpose"
    is_smooth(cell)


@pytest.mark.parametrize("fields", [{"deadman": False}, {"lease": "bob"}, {"want": "standby"}])
def test_who_may_not_drive(fields):
    cell = seated(Cell())
    cell.tick(3)
    cell.operate(0.2 * np.ones(D), **fields)
    cell.tick(5)
    assert cell.mode == "hold"
    assert stands_at_home(cell)


@pytest.mark.parametrize("bad", [np.full(D, np.nan), np.ones(3), np.full(D, np.inf)])
def test_malformed_velocities_are_ignored(bad):
    cell = seated(Cell())
    cell.tick(3)
    cell.operate(bad)
    cell.tick(5)
    assert cell.executor.seat.ignored == 1
    assert stands_at_home(cell)


@pytest.mark.parametrize("frame", ["base", "tool"])
def test_tool_velocities_move_the_tool(frame):
    cell = seated(Cell())
    cell.tick(3)
    tool = cell.executor.setpoint.tool.chain
    start_m = tool.position(cell.executor.setpoint.last.q)
    for _ in range(100):
        cell.operate([0, 0, 0.1, 0, 0, 0], frame)
        cell.tick()
    moved_m = tool.position(cell.executor.setpoint.last.q) - start_m
    up = 1 if frame == "base" else -1  # the tool looks down
    assert np.allclose(moved_m, (0, 0, up * 0.048), atol=4e-3)
    is_smooth(cell)


def test_input_that_stops_coming_brakes():
    cell = seated(Cell())
    cell.tick(3)
    for _ in range(50):
        cell.operate(0.3 * np.ones(D))
        cell.tick()
    assert cell.mode == "teleop"
    cell.tick(22)
    assert cell.mode == "hold"
    assert rest_ticks(cell) < 30
    is_smooth(cell)


def test_the_lease_is_one_persons_until_released_or_forgotten():
    cell = seated(Cell())
    cell.tick()
    assert cell.state.operator == "ann"
    assert cell.ask("take_lease", "bob").text == "ann holds the lease; ask them to release it"
    assert not cell.ask("release_lease", "bob").ok
    assert not cell.ask("take_lease", "").ok
    assert cell.ask("release_lease", "ann").ok
    assert cell.ask("take_lease", "bob").ok
    cell.stall(6)
    assert cell.ask("take_lease", "ann").ok, "bob has not been heard for long"


def test_the_gripper_keeps_its_grip_through_hold_and_hand_over():
    cell, _ = engaged()
    held = cell.state.gripper_cmd
    cell.ask("hold")
    cell.tick(40)
    assert cell.state.gripper_cmd == held == 1.0
    seated(cell)
    for _ in range(30):
        cell.operate(gripper=0.0)
        cell.tick()
    assert cell.state.gripper_cmd == 0.0
    cell.tick(60)
    assert (cell.mode, cell.state.gripper_cmd) == ("hold", 0.0)


def test_a_hand_that_still_presses_after_a_hold_moves_nothing():
    cell = seated(Cell())
    cell.tick(3)
    for ask in ("drive", "hold"):
        for _ in range(30):
            cell.operate(0.2 * np.ones(D))
            cell.tick()
        assert cell.mode == ("teleop" if ask == "drive" else "hold")
        cell.ask("hold")
    cell.operate(want="standby")
    cell.tick()
    cell.operate(0.2 * np.ones(D))
    cell.tick()
    assert cell.mode == "teleop", "after letting go once"


def test_near_a_limit_the_policy_is_refused_and_the_operator_drives_out_of_it():
    near = HOME.copy()
    near[3] = SPEC.q_max[3] - 0.005
    cell = seated(Cell(home=near))
    cell.tick(3)
    cell.task()
    assert "panda_joint4 is 0.005 rad from its limit" in cell.ask("go", "move").text
    for _ in range(300):
        cell.operate(-0.5 * (np.arange(D) == 3))
        cell.tick()
    speeds = [abs(r.knot.dq[3]) for r in cell.records if r.knot is not None]
    assert max(speeds[:40]) <= 0.05 * cell.executor.setpoint.moving.dq[3] + 1e-6
    cell.tick(100)
    assert cell.ask("go", "move").ok
    is_smooth(cell)


# -- when we ourselves are wrong -------------------------------------------------------------------


class Broken:
    """A follower that leaps."""

    def track(self, now: Motion, target: Motion, dt_s: float) -> Motion:
        return Motion.of(now.q + 0.05, now.dq, now.ddq)


def test_a_command_that_jumps_never_reaches_the_arm_and_latches_a_fault():
    cell, _ = engaged()
    cell.executor.setpoint._follower = Broken()
    cell.tick(2)
    assert (cell.mode, cell.executor.fault) == ("fault", "the command jumps")
    rest_ticks(cell)
    is_smooth(cell)
    assert any("the command jumps" in text for text in cell.events())


def test_an_arm_that_was_put_elsewhere_is_held_there():
    cell, mover = engaged()
    cell.arm.place(HOME + 0.4)
    mover.tick(60)
    assert cell.mode == "hold"
    assert cell.state.holding_for.startswith("the arm was put 0.3")
    assert np.allclose(cell.state.q_cmd, HOME + 0.4)
