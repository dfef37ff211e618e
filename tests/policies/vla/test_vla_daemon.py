"""A whole daemon whose System 2 is a checkpoint in a folder: real processes, real sockets."""

import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.messages import Conditioning
from tandem.tools import control
from tandem.tools.faults.rig import Rig

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints, pis

pytestmark = pytest.mark.process
_PATIENCE_S = 30.0
OPTIONS = {"dtype": "float32", "readouts": 2, "state": pis.STATE, "device": "cpu"}


def _config(folder: Path, film: Path) -> dict:
    camera = {"driver": "folder", "path": str(film), "size": [80, 60], "rate_hz": 30}
    return {
        "schema": 1,
        "robot": {
            "name": "vla",
            "arm": {"driver": "fake", "access": "move"},
            "limits": {"file": "limits/panda.yaml"},
        },
        "cameras": {"front": camera},
        "s2": {
            "policy": "vla",
            "weights": str(folder),
            "cameras": ["front"],
            "rate_hz": 10,
            "cache": {"strategy": "fixed_interval", "max_age_frames": 3},
            "options": OPTIONS,
        },
        "s1": {"policy": "tandem.tools.faults.sweep:SweepS1"},
        "executor": {"rate_hz": 200},
    }


def _film(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        picture = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


def _heard(rig: Rig, count: int) -> list[Conditioning]:
    """The next ones that are said."""
    bus = ZmqBus(rig.folder, "ears")
    line = bus.subscriber(streams.CONDITIONING, "s2", conflate=False)
    said: list[Conditioning] = []
    end_s = time.monotonic() + _PATIENCE_S
    try:
        while len(said) < count:
            assert time.monotonic() < end_s, f"{len(said)} thoughts; {rig.said()}"
            rig.watch(0.1)
            said += line.poll()
    finally:
        bus.close()
    return said


def _told(rig: Rig, what: str) -> bool:
    return any(what in event.text for event in rig.events)


def test_a_checkpoint_thinks_for_a_daemon_and_a_stranger_does_not_act_on_it(tmp_path: Path) -> None:
    """
    1. The daemon loads the folder; what it says is of the promised shape and name.
    2. Versions rise with each refresh, every third frame; pictures in between age.
    3. Each was told, in words, a state of the arm that was at most 50 ms old.
    4. An S1 that was trained on other latents is refused, and the arm stays where it is.
    5. A frozen executor tells of no state: System 2 waits, says why, and goes on with the next one.
    """
    folder = pis.save(tmp_path / "pi05", pis.LEROBOT, {"type": "pi05"})
    pis.normalise(folder, q01=pis.LOW, q99=pis.HIGH)
    expected = checkpoints.policy(folder, **{"text_tokens": None, **OPTIONS}).spec
    assert expected.wants_state
    with Rig(_config(folder, _film(tmp_path / "film"))) as rig:
        rig.until(lambda: rig.state is not None, _PATIENCE_S, "heard")
        rig.until(lambda: control.ask(rig.folder, "go", "sweep").ok, _PATIENCE_S, "asked to go")
        said = _heard(rig, 9)
        rig.until(lambda: _told(rig, "S1 was trained on latents sweep"), _PATIENCE_S, "refused")
        assert rig.mode() == "hold"
        thought_of = {one.t_state_ns for one in said}
        rig.until(lambda: thought_of <= {s.t_ns for s in rig.states}, _PATIENCE_S, "those states")
        rig.until(lambda: "executor" in rig.pids(), _PATIENCE_S, "there")
        os.kill(rig.children["executor"], signal.SIGSTOP)
        rig.until(lambda: _told(rig, "S2 waits: the newest state of the arm is"), _PATIENCE_S, "it")
        _heard(rig, 1)
    for one in said:
        assert one.valid
        assert one.latent_id == expected.latent_id
        assert one.latent.shape == expected.latent_shape == (2, zoo.WIDTH)
        assert np.isfinite(one.latent).all()
        assert one.refreshed == [one.age_frames == [0]]
        age_ns = one.t_ns - one.timings_ns["step"] - one.t_state_ns
        assert age_ns <= streams.STATE.max_age_ns  # or below 0: it came after the step was due
        assert one.t_state_ns <= one.t_ns
    versions = np.array([one.version[0] for one in said])
    assert set(np.diff(versions)) == {0, 1}
    assert 2 <= versions[-1] - versions[0] <= 4
