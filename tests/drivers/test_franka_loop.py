"""The executor drives a Franka through the vendor's library, in lockstep with the emulated robot.

The robot itself is the judge: of every millisecond it was commanded, lost ones extrapolated.
"""

import numpy as np
import pytest

from tests.drivers import vendor_clients
from tests.drivers.franka_rig import MODELS, Cell, emulator

pytest.importorskip("pylibfranka")
vendor_clients.needed()


def begun(rig, seed: int = 0, **how) -> Cell:
    cell = Cell(rig, seed=seed, **how)
    cell.go()
    cell.move(0.6)
    assert cell.mode == "policy"
    return cell


@pytest.mark.parametrize("kind", ["fr3", "fer"])
def test_random_plans_break_no_limit_of_the_robot(kind):
    with emulator(kind, "--lockstep") as rig:
        cell = begun(rig, seed=3)
        cell.move(2.4)
        report = rig.report()
        cell.arm.close()
    assert cell.mode == "policy"
    assert (report["violations"], report["lost"]) == ({}, 0)
    assert report["peaks"]["velocity"] > 0.05  # it did move
    assert max(report["peaks"].values()) < 0.6


@pytest.mark.parametrize("kind", ["fr3", "fer"])
def test_lost_packets_in_bursts_break_no_limit_either(kind):
    with emulator(kind, "--lockstep", "--seed", "5") as rig:
        rng = np.random.default_rng(5)
        start = MODELS[kind].home_q + rng.uniform(-0.2, 0.2, 7)
        rig.fault("push", q=start.tolist())
        cell = begun(rig, seed=5)
        rig.fault("lose", share=0.05, burst=14)
        cell.move(2.0)
        report = rig.report()
        cell.arm.close()
    assert cell.mode == "policy"
    assert report["violations"] == {}
    assert report["lost"] > 20
    assert max(report["peaks"].values()) <= 1.0


@pytest.mark.parametrize(
    ("fault", "how", "words"),
    [
        ("lose", {"count": 25}, "20 set-points in a row"),
        ("reflex", {}, "met resistance"),
        ("user_stop", {}, "user stop is pressed"),
        ("close_tcp", {}, "connection"),
        ("silence", {}, "silent"),
    ],
)
def test_what_goes_wrong_is_a_fault_until_somebody_resets(fault, how, words):
    """A fault with words that help; nothing commands the robot until `reset`; then it holds."""
    with emulator("fr3", "--lockstep") as rig:
        cell = begun(rig)
        if fault == "silence":
            cell.lose_patience(0.02)
        rig.fault(fault, **how)
        cell.until("fault")
        assert words in (cell.executor.fault or ""), cell.executor.fault
        calm = {"user_stop": "release", "silence": "none"}.get(fault)
        if calm:
            rig.fault(calm)
        received = rig.report()["received"]
        for _ in range(
            1300
        ):  # more than a second: it finds the robot again, and still does nothing
            cell.tick()
        assert cell.mode == "fault"
        assert rig.report()["received"] == received
        cell.reset()
        cell.tick(300)
        assert rig.report()["received"] > received
        cell.arm.close()
