"""The plan: exact cuts, joins, the clock along it, what is dropped, seams, the gripper's word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.runtime.chunks import Anchor, ChunkClock, Grip, Past, Plan
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.messages import ActionChunk

D, H, DT_NS = 3, 16, 50 * NS_PER_MS
STEP_S = 0.05
EPOCH, TASK = 7, 2


def chunk(actions: np.ndarray, t0_ns: int = 0, **fields) -> ActionChunk:
    values = {"dt_ns": DT_NS, "epoch": EPOCH, "instruction_id": TASK, "valid": True} | fields
    return ActionChunk(actions=np.asarray(actions, float), t0_ns=t0_ns, **values)


def ramp(speed: float, t0_s: float = 0.0, steps: int = H, offset: float = 0.0) -> np.ndarray:
    """[steps, D]: all joints along `speed`·t from the time `t0_s` on."""
    t_s = t0_s + STEP_S * np.arange(1, steps + 1)
    return (offset + speed * t_s)[:, None] * np.ones(D)


def moving_past(speed: float, until_s: float = 1.0) -> Past:
    """A past in which the set-point moved at `speed` and the chunk clock ran with time."""
    past = Past(1000)
    for t_ns in range(0, round(until_s * 1e9), 5 * NS_PER_MS):
        s = t_ns / 1e9
        past.push(t_ns, Anchor(s, np.full(D, speed * s), np.full(D, speed)))
    return past


def offer(plan: Plan, past: Past, given: ActionChunk, s: float = 0.0) -> bool:
    return plan.offer(given, past, s, EPOCH, TASK)


# -- cutting ---------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_what_was_executed_since_is_cut_exactly(start, delay):
    """A chunk planned from any state and any time late lands where time says, not one step off."""
    plan, past, speed = Plan(D, "replace"), moving_past(0.4), 0.4
    t0_s, now_s = start * 0.005, (start + delay) * 0.005
    assert offer(plan, past, chunk(ramp(speed, t0_s), round(t0_s * 1e9)), now_s)
    for s in np.linspace(now_s, t0_s + H * STEP_S - 1e-6, 20):
        assert np.allclose(plan.path.at(s).q, speed * s, atol=1e-9)
        assert np.allclose(plan.path.at(s).dq, speed, atol=1e-6)


def test_a_chunk_is_cut_by_the_chunk_clock_when_that_was_slow():
    """The arm went half as fast: only half of what the wall clock says is over."""
    past = Past(100)
    for k in range(41):
        past.push(k * 5 * NS_PER_MS, Anchor(k * 0.0025, np.zeros(D), np.zeros(D)))
    plan = Plan(D, "replace")
    actions = np.arange(1, H + 1)[:, None] * np.ones(D)
    assert offer(plan, past, chunk(actions, 0), s=0.1)
    assert np.allclose(plan.path.at(0.1).q, 2.0), "two steps executed, not four"


def test_the_past_is_exact_at_states_and_close_between():
    past = moving_past(0.4)
    assert past.at(10 * NS_PER_MS).q[0] == pytest.approx(0.004)
    assert past.at(12 * NS_PER_MS).q[0] == pytest.approx(0.0048)
    assert past.at(-1) is None
    assert past.at(2_000_000_000) is None, "a state that was never published"


def test_the_past_forgets():
    past = Past(100)
    for k in range(1000):
        past.push(k, Anchor(k, np.zeros(D), np.zeros(D)))
    assert past.at(500) is None
    assert past.at(950).s == 950
    past.push(950, Anchor(0, np.zeros(D), np.zeros(D)))
    assert past.at(950).s == 950, "a state seen twice counts once"


# -- what is dropped -------------------------------------------------------------------------------


def test_late_and_dead_chunks():
    plan, past = Plan(D), moving_past(0.0)
    assert offer(plan, past, chunk(ramp(0), 0), s=0.5)
    assert (plan.counts.joined, plan.counts.late) == (1, 1), "more than half of it is over"
    assert not offer(plan, past, chunk(ramp(0), 0), s=0.8)
    assert plan.counts.dead == 1
    assert not offer(Plan(D), Past(10), chunk(ramp(0), 0)), "planned from a forgotten state"


@pytest.mark.parametrize("fields", [{"epoch": 6}, {"epoch": 8}, {"instruction_id": 1}])
def test_chunks_of_another_epoch_or_instruction(fields):
    plan = Plan(D)
    assert not offer(plan, moving_past(0), chunk(ramp(0), 0, **fields))
    assert plan.counts.foreign == 1
    assert plan.path is None


@pytest.mark.parametrize(
    "bad",
    [
        chunk(np.full((H, D), np.nan)),
        chunk(np.where(np.arange(H)[:, None] == 9, np.inf, ramp(0))),
        chunk(np.full((H, D), 1e6)),
        chunk(np.zeros((H, D + 2))),
        chunk(np.zeros((H, D - 1))),
        chunk(np.zeros((0, D))),
        chunk(np.zeros(D)),
        chunk(np.zeros((1001, D))),
        chunk(ramp(0), dt_ns=0),
        chunk(ramp(0), dt_ns=-DT_NS),
        chunk(ramp(0), dt_ns=1 << 60),
    ],
)
def test_malformed_chunks(bad):
    plan = Plan(D)
    assert not offer(plan, moving_past(0), bad)
    assert plan.counts.malformed == 1


# -- joining ---------------------------------------------------------------------------------------


def two_plans(join: str, s: float = 0.2) -> Plan:
    """At 0: stand still. Planned from 0.1, joined at `s`: stand 0.1 rad further."""
    plan, past = Plan(D, join), moving_past(0.0)
    assert offer(plan, past, chunk(ramp(0)), s=0.0)
    assert offer(plan, past, chunk(ramp(0, offset=0.1), 100 * NS_PER_MS), s=s)
    return plan


def test_replace_follows_the_new_chunk_at_once():
    assert np.allclose(two_plans("replace").path.at(0.25).q, 0.1)
    assert np.allclose(two_plans("rtc").path.at(0.25).q, 0.1), "its policy made it continuous"


def test_crossfade_leaves_the_old_path_gently_and_ends_on_the_new():
    plan = two_plans("crossfade")
    at_seam = plan.path.at(0.2)
    assert np.allclose(at_seam.q, 0, atol=2e-3)
    assert abs(at_seam.dq).max() < 0.15
    assert np.allclose(plan.path.at(0.4).q, 0.1, atol=2e-3)
    assert np.allclose(plan.path.at(0.9).q, 0.1, atol=1e-3)


def test_two_chunks_that_agree_join_without_a_trace():
    for join in ("replace", "crossfade", "ensemble"):
        plan, past = Plan(D, join), moving_past(0.3)
        assert offer(plan, past, chunk(ramp(0.3)), 0.0)
        assert offer(plan, past, chunk(ramp(0.3, 0.2), 200 * NS_PER_MS), 0.3)
        for s in np.linspace(0.3, 0.95, 9):
            assert np.allclose(plan.path.at(s).q, 0.3 * s, atol=1e-6)
        assert plan.seams.raw == pytest.approx([0, 0, 0], abs=1e-6)


def test_the_ensemble_is_the_weighted_mean_of_those_that_reach():
    plan, past = Plan(D, "ensemble"), moving_past(0.0)
    for value in (0.0, 0.3):
        assert offer(plan, past, chunk(ramp(0, offset=value), 0), s=0.0)
    older, newer = 1.0, np.exp(-0.01)
    mean = 0.3 * newer / (older + newer)
    assert np.allclose(plan.path.at(0.5).q, mean, atol=1e-6)


def test_an_ensemble_gives_no_weight_to_chunks_that_end_before():
    plan, past = Plan(D, "ensemble"), moving_past(0.0)
    assert offer(plan, past, chunk(ramp(0, steps=4)), 0.0)
    assert offer(plan, past, chunk(ramp(0, offset=0.2)), 0.0)
    assert np.allclose(plan.path.at(0.5).q, 0.2, atol=1e-6)


def test_seams_say_how_far_two_plans_disagree():
    plan = two_plans("crossfade")
    # The new chunk alone: from 0 at 0.1 s up to 0.1 at 0.15 s, where the spline swings a little.
    assert 0.09 < plan.seams.raw[0] < 0.12
    assert plan.seams.gauges()["seam_raw_q_rad"] == plan.seams.raw[0]


def test_clearing_forgets_everything():
    plan = two_plans("ensemble")
    plan.clear()
    assert plan.path is None
    assert plan.chunk is None
    assert plan.remaining_s(0.0) == 0
    assert plan.gripper_at(0.0) is None


# -- the chunk clock -------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(-1, 2), st.integers(1, 60)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_the_clock_never_runs_back_nor_ahead_and_changes_gently(wishes):
    clock, dt_s = ChunkClock(), 0.005
    for pace, ticks in wishes:
        for _ in range(ticks):
            before = (clock.s, clock.pace, clock.rate)
            clock.advance(dt_s, pace)
            assert 0 <= clock.s - before[0] <= dt_s + 1e-12
            assert 0 <= clock.pace <= 1
            assert abs(clock.pace - before[1]) <= ChunkClock.MAX_RATE * dt_s + 1e-9
            assert abs(clock.rate - before[2]) <= ChunkClock.MAX_RATE_CHANGE * dt_s * 2


@pytest.mark.parametrize("pace", [0.0, 0.4, 1.0])
def test_the_clock_reaches_the_pace_that_is_wanted(pace):
    clock = ChunkClock()
    for wanted in (1.0, pace):
        for _ in range(200):
            clock.advance(0.005, wanted)
    assert clock.pace == pytest.approx(pace, abs=1e-9)
    assert clock.rate == pytest.approx(0, abs=1e-9)


def test_the_clock_can_stand_at_the_end_of_a_plan():
    clock = ChunkClock()
    while clock.s < 1.9999 and clock.s < 2:
        before = clock.s
        clock.advance(0.005, ChunkClock.stoppable(2 - clock.s))
        if clock.s - before < 1e-6:
            break
    assert 1.99 < clock.s <= 2.0 + 1e-3


def test_slowing_down_keeps_to_the_same_path():
    plan, clock = Plan(D), ChunkClock()
    assert offer(plan, moving_past(0.0), chunk(ramp(0.5)), 0.0)
    for k in range(120):
        clock.advance(0.005, 1.0 if k < 60 else 0.3)
        along = plan.path.at(clock.s)
        stretched = clock.stretch(along)
        assert np.array_equal(stretched.q, along.q)
        assert np.allclose(stretched.dq, along.dq * clock.pace)


# -- the gripper -----------------------------------------------------------------------------------


def test_the_gripper_hears_the_running_action():
    plan = Plan(D)
    actions = np.column_stack((ramp(0), (np.arange(H) >= 4).astype(float)))
    assert offer(plan, moving_past(0.0), chunk(actions), 0.0)
    assert plan.gripper_at(0.19) == 0.0, "the fourth action runs"
    assert plan.gripper_at(0.21) == 1.0, "the fifth"
    assert plan.gripper_at(9.0) == 1.0


def test_a_wavering_gripper_is_left_alone():
    grip = Grip(1.0)
    words = [0.5, 0.45, 0.3, 0.55, 0.39, 0.7, 0.2]
    for k, word in enumerate(words):
        assert grip.want(word, k * 20 * NS_PER_MS) == 1.0


def test_a_clear_word_counts_after_the_debounce_time():
    grip = Grip(1.0)
    said = [grip.want(0.1, k * 20 * NS_PER_MS) for k in range(5)]
    assert said == [1, 1, 1, 0, 0]
    assert grip.want(0.5, 200 * NS_PER_MS) == 0, "between the thresholds nothing changes"


def test_without_a_word_the_grip_stays():
    grip = Grip(0.37)
    assert grip.want(None, 0) == grip.want(float("nan"), 1) == 0.37
