"""The executor in lockstep: engaging, holding, stopping, and what it tells; a story per rule."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.messages import Request

from tests.runtime.executor_cell import (
    HOME,
    SETTINGS,
    SPEC,
    Cell,
    D,
    H,
    Mover,
    engaged,
    is_smooth,
    rest_ticks,
    stands_at_home,
)

# -- engaging --------------------------------------------------------------------------------------


def test_a_ready_arm_is_held_and_nothing_moves():
    cell = Cell()
    cell.tick(50)
    assert cell.mode == "hold"
    assert cell.state.valid
    assert stands_at_home(cell)
    assert cell.arm.counters["starved"] == 0, "the arm always had its next knot"
    is_smooth(cell)


def test_go_waits_for_a_plan_that_starts_here_and_then_moves():
    cell = Cell()
    cell.tick(3)
    cell.task()
    epoch = cell.executor.epoch
    reply = cell.ask("go", "move")
    assert (reply.ok, reply.text) == (True, "engaging")
    assert cell.executor.epoch == epoch + 1
    cell.tick(20)
    assert cell.mode == "hold"
    assert cell.state.holding_for == "engaged, waiting for the first plan"
    Mover(cell).tick(100)
    assert cell.mode == "policy"
    assert abs(cell.state.q_cmd - HOME).max() > 1e-4
    assert any("hold → policy" in text for text in cell.events())


def test_a_plan_that_starts_elsewhere_does_not_move_the_arm():
    cell = Cell()
    cell.tick(3)
    cell.task()
    cell.ask("go", "move")
    cell.chunk(np.tile(np.append(HOME + 0.2, 1.0), (H, 1)))
    cell.tick(20)
    assert cell.mode == "hold"
    assert cell.state.holding_for == "the plan starts 0.20 rad away from the set-point"
    assert stands_at_home(cell)


def test_without_a_plan_the_engagement_ends():
    cell = Cell(replace(SETTINGS, engage_ns=NS_PER_S))
    cell.tick(3)
    cell.task()
    cell.ask("go", "move")
    cell.tick(250)
    assert cell.state.holding_for == "not engaged: engaged, waiting for the first plan"
    Mover(cell).tick(50)
    assert cell.mode == "hold", "a plan that comes later moves nothing"


def configure(cell: Cell, **fields) -> None:
    cell.executor.settings = replace(SETTINGS, **fields)


def drive(cell: Cell, speed: float) -> None:
    cell.ask("take_lease", "ann")
    cell.operate(speed * np.ones(D))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda cell: configure(cell, access="read_only"), "access is read_only"),
        (lambda cell: cell.arm.interrupt("reflex", "a collision"), "a collision"),
        (lambda cell: cell.arm.interrupt("user_stop", "button pressed"), "button pressed"),
        (lambda cell: cell.ask("stop"), "reset first"),
        (lambda cell: drive(cell, 0.1), "the operator drives"),
    ],
)
def test_engaging_is_refused_with_the_reason(spoil, reason):
    cell = Cell()
    cell.tick(3)
    cell.task()
    spoil(cell)
    cell.tick(2)
    reply = cell.ask("go", "move")
    assert not reply.ok
    assert reason in reply.text


def test_engaging_without_an_instruction_is_refused():
    cell = Cell()
    cell.tick(3)
    assert "no instruction" in cell.ask("go").text


def test_plans_of_another_instruction_do_not_start():
    cell = Cell()
    cell.tick(3)
    cell.task("pick")
    cell.ask("go", "place")
    Mover(cell).tick(60)
    assert cell.mode == "hold"
    assert cell.executor.pilot.plan.counts.foreign > 0


def test_go_while_moving_changes_the_instruction_without_a_stop():
    cell, mover = engaged()
    cell.task("another")
    assert cell.ask("go", "another").ok
    mover.tick(60)
    assert cell.mode == "policy"
    assert min(state.pace for state in cell.states[-60:]) > 0.99
    assert cell.executor.pilot.plan.chunk.instruction_id == 2
    is_smooth(cell)


# -- holding and stopping --------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "mode"), [("hold", "hold"), ("stop", "idle")])
@pytest.mark.parametrize("seconds", [0.9, 1.2, 1.5, 2.3])
def test_rest_is_reached_in_time_and_nothing_reverses(verb, mode, seconds):
    cell, _ = engaged(seconds=seconds)
    before = cell.executor.setpoint.last
    bound_s = cell.executor.setpoint.moving.stop_s(before.dq)
    assert cell.ask(verb).ok
    ticks = 1 + rest_ticks(cell)
    assert ticks * 0.005 <= bound_s + 2 * 0.005
    cell.tick(5)
    assert cell.mode == mode
    knots = np.array([r.knot.dq for r in cell.records[-ticks - 5 :] if r.knot is not None])
    helped = before.ddq**2 / (2 * cell.executor.setpoint.stopping.jerk) <= abs(before.dq)
    assert (knots * np.sign(before.dq) >= -1e-9)[:, helped].all()
    is_smooth(cell)


def test_hold_needs_a_new_go():
    cell, mover = engaged()
    epoch = cell.executor.epoch
    cell.ask("hold")
    assert cell.executor.epoch > epoch
    mover.tick(100)
    assert cell.mode == "hold"
    assert cell.state.holding_for == "hold asked for"
    assert cell.ask("go", "move").ok
    mover.tick(80)
    assert cell.mode == "policy"
    is_smooth(cell)


def test_stop_latches_until_reset():
    cell, mover = engaged()
    reply = cell.ask("stop")
    assert re.fullmatch(r"stopping: at rest within 0\.\d\d s and \d+ mm of the tool", reply.text)
    cell.until("idle")
    mover.tick(50)
    assert cell.mode == "idle"
    assert "reset first" in cell.ask("go", "move").text
    assert cell.ask("reset").ok
    cell.until("hold")
    is_smooth(cell)


def test_a_stop_is_not_queued_behind_other_requests():
    cell, _ = engaged()
    for _ in range(20):
        cell._client.send(Request(verb="ping", t_ns=cell.clock.now_ns()))
    cell.ask("stop")
    assert cell.mode == "stopping"


def test_run_ends_at_rest_when_told_to_end():
    cell, _ = engaged()
    cell.executor.end()
    cell.executor.run()
    assert cell.mode == "idle"
    assert cell.executor.setpoint.last.is_rest()
    is_smooth(cell)


def test_run_ends_when_the_line_to_the_supervisor_is_cut():
    cell, _ = engaged()
    cell.silence_ns = 1 << 62
    cell.executor.run()
    assert cell.mode == "idle"
    is_smooth(cell)


def test_read_only_reads_and_never_sends():
    cell = Cell(replace(SETTINGS, access="read_only"))
    cell.tick(30)
    assert cell.mode == "idle"
    assert cell.arm.sent is None
    assert cell.state.holding_for == "access is read_only"


def test_an_arm_that_gives_the_beat():
    paced = replace(SPEC, paced_by="arm", rate_hz=1000.0)
    cell = Cell(replace(SETTINGS, rate_hz=1000.0), paced)
    cell.tick(5)
    cell.task()
    cell.ask("go", "move")
    Mover(cell, every=200).tick(1500)
    assert cell.mode == "policy"
    assert cell.arm.counters["starved"] == 0
    is_smooth(cell)


# -- what is told ----------------------------------------------------------------------------------


def test_latency_is_told_in_pieces_that_add_up():
    cell, mover = engaged()
    cell.samples()
    now_ns = cell.clock.now_ns()
    cell.chunk(
        mover.plan(),
        t_capture_ns=now_ns - 100 * NS_PER_MS,
        t_conditioning_ns=now_ns - 60 * NS_PER_MS,
        timings_ns={"infer": 20 * NS_PER_MS},
    )
    cell.tick(25)
    told = {name: values[0] / NS_PER_MS for name, values in cell.samples().items()}
    pieces = [told[name] for name in ("camera_s2", "s2_s1", "s1", "s1_executor")]
    assert pieces[:3] == [40, 40, 20]
    assert sum(pieces) == pytest.approx(told["camera_command"], abs=0.1)


def test_seams_are_told_and_what_was_sent_is_smoother_than_what_was_planned():
    cell, mover = engaged()
    for _ in range(5):
        cell.chunk(mover.plan() + np.append(0.03 * (-1.0) ** np.arange(D), 0))
        mover.tick(40)
    gauges = cell.gauges()
    assert gauges["seam_raw_q_rad"] > 0.01
    assert gauges["seam_sent_q_rad"] < gauges["seam_raw_q_rad"] / 50
    is_smooth(cell)


def test_status_and_ping():
    cell, _ = engaged()
    assert cell.ask("ping").text == "here"
    status = cell.ask("status").data
    assert (status["mode"], status["fault"], status["instruction"]) == ("policy", None, "move")


def test_states_carry_the_lineage_of_the_command():
    cell, mover = engaged()
    sent = cell.chunk(mover.plan(), conditioning_seq=41, t_capture_ns=7)
    cell.tick(2)
    state = cell.state
    assert (state.chunk_seq, state.conditioning_seq, state.t_capture_ns) == (sent.seq, 41, 7)
    assert state.pace == 1
