"""A whole daemon and an emulated FR3 in lockstep: the same seed, the same run, on any machine."""

import copy
from contextlib import closing

import numpy as np
import pytest
import yaml
from tandem.runtime import config
from tandem.tools.faults.daemon import CONFIG
from tandem.tools.fci_emulator.lockstep import EmulatedLockstep
from tandem.tools.fci_emulator.process import Robot

pytest.importorskip("pylibfranka")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    given = copy.deepcopy(CONFIG)
    told = {"collision": {}, "load": {"mass_kg": 0}}
    given["robot"]["arm"] = {
        "driver": "franka_fr3", "host": "127.0.0.1", "access": "move", "options": told,
    }  # fmt: skip
    given["robot"]["limits"]["file"] = "limits/fr3.yaml"
    given["executor"]["rate_hz"] = 1000
    file = tmp_path_factory.mktemp("lockstep") / "fr3.yaml"
    file.write_text(yaml.safe_dump(given))
    return config.load(file)


@pytest.fixture(scope="module")
def robot():
    with closing(Robot("franka_fr3")) as robot:
        yield robot


def played(settings, robot, seed: int):
    """What the robot was commanded, and where everything is in the end."""
    with closing(EmulatedLockstep(settings, robot, seed)) as cell:
        begin = cell.world.truth()
        cell.advance(0.1)
        cell.go("sweep closed")
        cell.advance(0.6)
        assert cell.executor.mode == "policy"
        assert cell.world.render("front").std() > 5  # it is drawn
        return begin, cell.record().q, cell.world.truth(), cell.sim("counters")


def test_the_same_seed_is_the_same_run_and_another_is_not(settings, robot):
    begin, q, end, counters = played(settings, robot, 5)
    assert np.abs(q[-1] - q[0]).max() > 0.02  # it did move
    assert end["width_m"] < begin["width_m"]  # and close its hand
    assert counters["refused_knots"] == 0
    again_begin, again_q, again_end, _ = played(settings, robot, 5)
    rows = min(len(q), len(again_q))
    assert np.abs(q[:rows] - again_q[:rows]).max() == 0
    assert again_begin["cubes"].keys() == begin["cubes"].keys()
    assert again_end["tool"] == pytest.approx(end["tool"], abs=1e-9)
    with closing(EmulatedLockstep(settings, robot, 6)) as other:
        assert other.world.truth()["cubes"] != begin["cubes"]
