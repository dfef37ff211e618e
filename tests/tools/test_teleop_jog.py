"""The law of jog mode: no key event moves the arm further than 10 mm or 2°, whatever happens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.modes import pace_for_age
from tandem.tools.teleop.jog import Jog
from tandem.tools.teleop.wish import Caps, Controls, command

from tests.runtime.executor_cell import Cell, is_smooth, seated

MAX_M, MAX_RAD = 0.010, np.radians(2)
OPERATOR_MS, SLOW_MS = 100, 30

gaps_ms = st.lists(st.sampled_from([8, 10, 10, 10, 12, 35, 80, 300]), min_size=1, max_size=60)
events = st.dictionaries(
    st.integers(0, 59), st.tuples(st.integers(0, 5), st.sampled_from([-1.0, 1.0])), max_size=8
)
caps = st.builds(Caps, st.floats(0.005, 1.0), st.floats(0.02, 1.0))


def heard_for_ms(gap_ms: int) -> float:
    """For how long, in full speed, the executor goes on with a command when the next is so late."""
    age_ms = np.arange(0, min(gap_ms, OPERATOR_MS), 0.5)
    return sum(pace_for_age(int(age), SLOW_MS, OPERATOR_MS) for age in age_ms) * 0.5


@settings(deadline=None)
@given(gaps_ms, events, caps, st.sampled_from(["base", "tool", "joint"]), st.floats(0.05, 1))
def test_no_key_event_commands_more_than_its_step(gaps, events, caps, frame, speed):
    """With ticks of any length, and as many events as one likes."""
    jog, controls, now_ns = Jog(caps), Controls(caps, "drive", frame, speed), NS_PER_S
    joint_frame, way = frame == "joint", np.zeros(7 if frame == "joint" else 6)
    pushed = np.zeros(7)
    for number, gap_ms in enumerate([*gaps, *[10] * 100]):
        if number in events:
            axis, sign = events[number]
            pushed[axis] += 1
            jog.push(axis, sign)
        made = command(jog.wish(now_ns, joint_frame), controls, "ann", 7, None, now_ns)
        way += abs(made.velocity) * heard_for_ms(gap_ms) / 1e3
        now_ns += gap_ms * NS_PER_MS
    assert not made.deadman, "it ends by itself"
    most = np.full(len(way), MAX_RAD) if joint_frame else np.repeat([MAX_M, MAX_RAD], 3)
    assert (way <= pushed[: len(way)] * most + 1e-9).all()


@pytest.mark.parametrize("frame", ["base", "joint"])
@pytest.mark.parametrize("dies_after", [1, 5, 9, 100])
@pytest.mark.parametrize("taps", [1, 3])
def test_the_arm_itself_moves_no_further(frame, dies_after, taps):
    """In the executor, limits and braking included; the program may die in mid-move."""
    cell, jog = seated(Cell()), Jog(Caps())
    cell.tick(3)
    chain, begin = cell.executor.setpoint.tool.chain, cell.executor.setpoint.last.q
    controls = Controls(Caps(), "drive", frame, 1.0)
    for step in range(60):
        now_ns = cell.clock.now_ns()
        if step < taps:
            jog.push(0, 1.0)
        if step < dies_after:
            made = command(jog.wish(now_ns, frame == "joint"), controls, "ann", 7, None, now_ns)
            cell.operate(made.velocity, made.frame, deadman=made.deadman, want=made.want)
        cell.tick(2)
    assert cell.mode == "hold"
    end = cell.executor.setpoint.last.q
    moved_m = np.linalg.norm(chain.position(end) - chain.position(begin))
    moved = moved_m / MAX_M if frame == "base" else abs(end - begin).max() / MAX_RAD
    assert 0.05 < moved < min(taps, dies_after)
    is_smooth(cell)


def test_the_other_way_ends_a_move():
    jog = Jog(Caps())
    jog.push(0, 1.0)
    assert jog.wish(NS_PER_S, False).axes[0] > 0
    jog.push(0, -1.0)
    assert jog.wish(NS_PER_S + 10 * NS_PER_MS, False).axes[0] == 0


def test_a_jog_is_no_dead_man():
    """In standby nothing of it is pressed, so it cannot arm the fall-back."""
    jog = Jog(Caps())
    jog.push(0, 1.0)
    wish = jog.wish(NS_PER_S, False)
    assert wish.hand == "jog"
    assert not command(wish, Controls(want="standby"), "ann", 7, None, 0).deadman
    assert command(wish, Controls(want="drive"), "ann", 7, None, 0).deadman
