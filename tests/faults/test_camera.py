"""A camera whose picture stands still while its stamps go on: nobody may act on it."""

import time
from copy import deepcopy

import numpy as np
import pytest
from tandem.tools.faults.daemon import CONFIG
from tandem.tools.faults.film import STILL
from tandem.tools.faults.motion import sweep
from tandem.tools.faults.rig import Rig
from tandem.tools.faults.sweep import RAMP_S

pytestmark = pytest.mark.process
_NOTICED_S = 1.0  # a picture may stand still for so long
_TOO_OLD_S = 1.1  # then conditioning ages: ladder_ms.conditioning_hold, one period of System 2
_SLACK_S = 4.0  # of a machine that stalls


def test_a_picture_that_stands_still_ends_in_hold_with_the_cause_named() -> None:
    config = deepcopy(CONFIG)
    # The simulator's own cameras are exempt: there, nothing moves until something does.
    config["cameras"]["front"]["driver"] = "tandem.tools.faults.film:Film"
    with Rig(config) as rig:
        sweep(rig, RAMP_S, fast_rad_s=0.2)
        frozen_ns = time.monotonic_ns()
        (rig.folder / STILL).touch()
        rig.until(lambda: rig.mode() == "hold", _NOTICED_S + _TOO_OLD_S + _SLACK_S, "in hold")
        rig.until(lambda: np.abs(rig.states[-1].dq_cmd).max() < 1e-6, 5.0, "at rest")
        rig.until(lambda: _told(rig, frozen_ns), 5.0, "told of")
        (rig.folder / STILL).unlink()
        rig.watch(0.5)
        assert rig.mode() == "hold", "motion resumed by itself"
        rig.go("sweep")
        rig.until(lambda: rig.mode() == "policy", 5.0, "in motion again")


def _told(rig: Rig, since_ns: int) -> bool:
    said = [e.text for e in rig.events if e.t_ns > since_ns and e.source == "camera"]
    return any("front" in text for text in said)
