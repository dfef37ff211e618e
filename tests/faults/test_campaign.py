"""Real processes over real sockets, hurt while the arm sweeps; every stop is judged.

One daemon takes all faults, as a robot must. `TANDEM_CAMPAIGN=50 pytest tests/faults` strikes 50
more times, at random; `python -m tandem.tools.faults` does the same and prints it.
"""

import os
import random
from collections.abc import Iterator

import pytest
from tandem.tools.faults.campaign import Outcome, play
from tandem.tools.faults.catalogue import FAULTS, QUICK, Fault
from tandem.tools.faults.rig import Rig

pytestmark = pytest.mark.process
_SEED = int(os.environ.get("TANDEM_CAMPAIGN_SEED", random.randrange(1 << 31)))
_MORE = int(os.environ.get("TANDEM_CAMPAIGN", "0"))
_RNG = random.Random(_SEED)
_LATE = "braking began only after"
_AGAIN = 2
_DRAWN = [*QUICK, *(_RNG.choice(FAULTS) for _ in range(_MORE))]


@pytest.fixture(scope="module")
def shared() -> Iterator[dict[str, Rig]]:
    """The running daemon, once it runs."""
    rigs: dict[str, Rig] = {}
    yield rigs
    for rig in rigs.values():
        rig.end()


@pytest.fixture
def rig(shared: dict[str, Rig]) -> Iterator[Rig]:
    """A daemon that holds; a new one if a test before has lost it."""
    if "rig" not in shared:
        shared["rig"] = Rig()
        shared["rig"].start()
    yield shared["rig"]
    if shared["rig"].returncode is not None:
        shared.pop("rig").end()


def _spoilt(outcome: Outcome) -> bool:
    """Nothing was wrong but the time: the machine may have stalled just then."""
    if outcome.problems:
        return all(problem.startswith(_LATE) for problem in outcome.problems)
    return outcome.stop is not None and outcome.stop.fastest_rad_s <= 0.1


@pytest.mark.parametrize("fault", _DRAWN, ids=lambda fault: fault.name.replace(" ", "-"))
def test_every_fault_ends_in_a_good_stop(rig: Rig, fault: Fault) -> None:
    outcome = play(rig, fault, _RNG)
    for _ in range(_AGAIN):
        if not _spoilt(outcome):
            break
        outcome = play(rig, fault, _RNG)
    assert not outcome.problems, f"seed {_SEED}: {outcome.line()}\n{rig.said()}"
    if outcome.stop is not None:
        assert outcome.stop.fastest_rad_s > 0.1
