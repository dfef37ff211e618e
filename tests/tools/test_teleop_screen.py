"""What the operator reads: everything on a small terminal, a call in reverse video."""

import os
import pty
import threading
import time

import numpy as np
import pytest
from tandem.runtime import config
from tandem.runtime.messages import RobotState
from tandem.tools.teleop.main import settings_for
from tandem.tools.teleop.screen import View, lines
from tandem.tools.teleop.terminal import Terminal
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


def test_it_begins_with_what_the_robot_was_configured_with_and_what_was_given_goes_first(tmp_path):
    asked = "teleop={frame: tool, max_m_s: 0.05, sensitivity: 0.2, rate_hz: 50}"
    config.save(config.load("fake", [asked]), tmp_path / "config.yaml")
    nothing = dict.fromkeys(("device", "frame", "max_m_s", "max_rad_s", "sensitivity"))
    found = settings_for(tmp_path, nothing)
    assert (found.frame, found.max_m_s, found.sensitivity, found.rate_hz) == ("tool", 0.05, 0.2, 50)
    assert found.device == "auto"
    found = settings_for(tmp_path, nothing | {"frame": "joint", "max_m_s": 0.1})
    assert (found.frame, found.max_m_s, found.sensitivity) == ("joint", 0.1, 0.2)
    (tmp_path / "config.yaml").write_text("schema: 2")
    assert settings_for(tmp_path, nothing).frame == "base", "of another version"


def test_a_link_that_is_full_drops_pictures_but_not_what_gives_the_terminal_back(monkeypatch):
    master, slave = pty.openpty()
    shown = b""

    def slow_link() -> None:
        nonlocal shown
        time.sleep(0.2)
        while not shown.endswith(b"\x1b[?25h"):
            shown += os.read(master, 4096)

    monkeypatch.setattr("tandem.tools.teleop.terminal._FAREWELL_S", 20.0)
    reader = threading.Thread(target=slow_link, daemon=True)
    with open(slave, closefd=False) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with Terminal() as terminal:
            while terminal.write(b"a picture"):
                pass
            reader.start()
        reader.join(20)
    assert shown.endswith(b"\x1b[?1004l\x1b[?25h")
    for end in (master, slave):
        os.close(end)
