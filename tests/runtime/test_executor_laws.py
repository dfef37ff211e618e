"""Laws that hold whatever happens: limits at plant rate, over random sequences of mishaps."""

import time
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.runtime.clock import NS_PER_MS

from tests.runtime.executor_cell import (
    MOTION,
    SETTINGS,
    Cell,
    D,
    H,
    Mover,
    engaged,
    is_smooth,
    seated,
)


def test_the_tool_stays_in_its_box_whatever_the_policy_wants():
    box = replace(MOTION, table_z_m=0.44, workspace_max_m=(None, 0.05, None))
    cell, _ = engaged(replace(SETTINGS, motion=box), seconds=3)
    tool = cell.executor.setpoint.tool
    positions = np.array([tool.chain.position(r.knot.q) for r in cell.records if r.knot])
    assert positions[:, 2].min() > 0.44
    assert positions[:, 1].max() < 0.05
    assert cell.executor.fault is None
    assert any("workspace" in (s.holding_for or "") for s in cell.states)
    is_smooth(cell)


def test_the_tool_keeps_its_speed_limit():
    slow = replace(SETTINGS, motion=replace(MOTION, tool_speed_m_s=0.1))
    cell, _ = engaged(slow, seconds=3, size=0.5)
    tool = cell.executor.setpoint.tool.chain
    speeds = [
        np.linalg.norm(tool.update(r.knot.q).jacobian[:3] @ r.knot.dq)
        for r in cell.records
        if r.knot is not None
    ]
    assert max(speeds) < 0.105
    assert cell.executor.fault is None
    is_smooth(cell)


mishap = st.sampled_from(
    [
        "nan",
        "leap",
        "beyond",
        "late",
        "foreign",
        "burst",
        "short",
        "fast",
        "silence",
        "hold",
        "stop",
        "go",
        "reset",
        "stall",
        "hiccup",
        "teleop",
        "tool",
        "reflex",
        "recover",
        "mute",
    ]
)
joins = st.sampled_from(["replace", "crossfade", "ensemble"])


@given(
    st.lists(st.tuples(mishap, st.integers(1, 50)), min_size=3, max_size=8),
    st.integers(0, 99),
    joins,
)
@settings(max_examples=20, deadline=None)
def test_whatever_happens_the_arm_stays_inside_its_limits(mishaps, seed, join):
    rng = np.random.default_rng(seed)
    cell, mover = engaged(replace(SETTINGS, join=join), seconds=0.8)
    seated(cell)
    for name, ticks in mishaps:
        happen(cell, mover, name, rng)
        mover.tick(ticks)
    is_smooth(cell)
    cell.silence_ns = 1 << 62
    cell.executor.run()
    assert cell.executor.setpoint.last.is_rest()
    is_smooth(cell)


def happen(cell: Cell, mover: Mover, name: str, rng: np.random.Generator) -> None:
    plan = mover.plan()
    match name:
        case "nan":
            plan[rng.integers(H), rng.integers(D)] = np.nan
            cell.chunk(plan)
        case "leap":
            plan[rng.integers(H) :, rng.integers(D)] += rng.normal()
            cell.chunk(plan)
        case "beyond":
            cell.chunk(plan + rng.normal(size=D + 1) * 3)
        case "late":
            cell.chunk(plan, t0_ns=cell.state.t_ns - int(rng.integers(0, 1000)) * NS_PER_MS)
        case "foreign":
            cell.chunk(plan + 1, epoch=cell.state.epoch + 1)
        case "burst":
            for _ in range(5):
                cell.chunk(plan + rng.normal(size=D + 1) * 0.05)
        case "short":
            cell.chunk(plan[: rng.integers(1, 4)])
        case "fast":
            cell.chunk(plan, dt_ns=int(rng.integers(1, 20)) * NS_PER_MS)
        case "silence":
            mover.countdown = 200
        case "stall":
            cell.stall(float(rng.uniform(0, 0.4)))
        case "hiccup":
            cell.stall(float(rng.uniform(0, 0.03)))
        case "teleop" | "tool":
            for _ in range(30):
                frame = "joint" if name == "teleop" else str(rng.choice(["base", "tool"]))
                size = D if frame == "joint" else 6
                cell.operate(rng.normal(size=size), frame, gripper=float(rng.uniform()))
                cell.tick()
        case "go":
            cell.ask("go", "move")
        case "hold" | "stop" | "reset":
            cell.ask(name)
        case "reflex":
            cell.arm.interrupt("reflex", "touched")
        case "recover":
            cell.arm.release()
        case "mute":
            cell.arm.go_silent()
            cell.tick(int(rng.integers(1, 40)))
            cell.arm.go_silent(False)


def test_a_tick_takes_little_of_its_period():
    """CPU time of a tick in the middle of motion, tool limits included; machines are shared."""
    cell, _ = engaged(trace=False)
    costs_us = []
    for _ in range(60):
        start_ns = time.thread_time_ns()
        cell.executor.step()
        costs_us.append((time.thread_time_ns() - start_ns) / 1e3)
    assert np.median(costs_us) < 2500
