"""What the operator reads: everything on a small terminal, a call in reverse video."""

import numpy as np
import pytest
from tandem.runtime.messages import RobotState
from tandem.tools.teleop.screen import View, lines
from tandem.tools.teleop.wish import Caps, Controls, Wish


def view(mode: str = "policy", hand: str = "off", **fields) -> View:
    zero = np.zeros(7)
    vectors = dict.fromkeys(("q", "dq", "tau", "q_cmd", "dq_cmd", "ddq_cmd"), zero)
    state = RobotState(**vectors, gripper_cmd=1.0, width_m=0.08, mode=mode, epoch=1, valid=True)
    who = {"robot": "cell_a", "lease": "ann@lab/4711", "device": "keyboard, keys act while held"}
    return View(
        **who, controls=Controls(Caps(), "standby"), wish=Wish(hand=hand), state=state, **fields
    )


@pytest.mark.parametrize("mode", ["idle", "hold", "policy", "teleop", "fault"])
def test_it_fits_on_80_columns(mode):
    assert (
        max(len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) for line in lines(view(mode)))
        <= 79
    )


def test_it_says_who_would_have_the_arm():
    assert "the policy drives alone" in "\n".join(lines(view()))
    assert "if the policy is lost, you have the arm" in "\n".join(lines(view(hand="held")))
    assert "you drive" in "\n".join(lines(view("teleop", "held")))


def test_a_call_is_in_reverse_video_and_a_broken_device_comes_first():
    assert lines(view(call="starved: take over"))[-1] == "\x1b[7m starved: take over \x1b[0m"
    assert "unplugged" in lines(view(call="starved", problem="it was unplugged"))[-1]
    assert lines(view())[-1] == ""
