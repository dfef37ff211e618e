"""Every rule of engaging, alone: it refuses with its reason, and nothing else refuses."""

from dataclasses import replace

import numpy as np
import pytest
from tandem.runtime import arm_file, config
from tandem.runtime.engage import Situation, refusals, start_refusal
from tandem.runtime.interfaces import ArmState

MODEL = arm_file.load(config.PACKAGED / "limits" / "panda.yaml")
SPEC, HOME, D = MODEL.spec, MODEL.home_q, len(MODEL.home_q)
ZERO, SECOND = np.zeros(D), np.arange(D) == 1
STATE = ArmState(0, HOME, ZERO, ZERO, HOME, ZERO, ZERO, 0.08, "idle")
FINE = Situation("hold", "move", None, STATE, 0, False, "pick up the red cube")


def reasons(now: Situation) -> list[str]:
    return [*refusals(now, SPEC, margin_rad=0.02, max_age_ns=100_000_000)]


def arm(**fields) -> Situation:
    return replace(FINE, state=replace(STATE, **fields))


def test_nothing_refuses_when_all_is_well():
    assert reasons(FINE) == []
    assert reasons(replace(FINE, mode="policy", state=replace(STATE, dq=ZERO + 1))) == []


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (replace(FINE, access="read_only"), "access is read_only"),
        (replace(FINE, fault="reflex"), "fault: reflex; remove the cause, then reset"),
        (replace(FINE, mode="idle", stopped=True), "a stop was asked for; reset first"),
        (replace(FINE, mode="idle"), "the arm is not ready yet; ask again"),
        (replace(FINE, operator_drives=True), "the operator drives"),
        (replace(FINE, instruction=""), "there is no instruction"),
        (replace(FINE, state=None), "the arm has not been heard yet; ask again"),
        (replace(FINE, state_age_ns=150_000_000), "the arm's state is 150 ms old"),
        (replace(FINE, tool_outside_m=0.012), "the tool is 12 mm outside its workspace"),
        (arm(status="user_stop", error="button"), "the arm is in user_stop: button"),
        (arm(status="reflex"), "the arm is in reflex: see its own display"),
        (arm(dq=0.02 * SECOND), "the arm moves at 0.020 rad/s"),
        (arm(q_d=HOME + 0.06 * SECOND), "panda_joint2 is 0.060 rad away from its set-point"),
        (arm(q=HOME * np.nan), "the arm's state is not finite"),
    ],
)
def test_each_rule_refuses_with_its_reason(now, reason):
    found = reasons(now)
    assert len(found) == 1
    assert found[0].startswith(reason)


def test_what_the_arm_must_be_told_first():
    spec = replace(SPEC, unset=("collision thresholds",))
    found = list(refusals(FINE, spec, margin_rad=0.02, max_age_ns=100_000_000))
    assert found == ["collision thresholds is not set in the configuration"]


def test_near_a_limit():
    q = np.where(SECOND, SPEC.q_max - 0.01, HOME)
    assert reasons(arm(q=q, q_d=q)) == [
        "panda_joint2 is 0.010 rad from its limit; drive it inward with teleop"
    ]


def test_a_plan_must_start_at_the_set_point():
    assert start_refusal(HOME, HOME + 0.09 * SECOND) is None
    assert start_refusal(HOME, HOME + 0.11 * SECOND) == (
        "the plan starts 0.11 rad away from the set-point"
    )
