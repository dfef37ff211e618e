"""A camera whose picture stands still while its stamps go on: nobody may act on it."""

import time
from copy import deepcopy

import numpy as np
import pytest
from tandem.tools.faults.campaign import prepare
from tandem.tools.faults.daemon import CONFIG
from tandem.tools.faults.film import STILL
from tandem.tools.faults.rig import Rig
from tandem.tools.faults.sweep import RAMP_S

pytestmark = pytest.mark.process
_NOTICED_S = 1.0  # a picture may stand still for so long
_TOO_OLD_S = 1.1  # then conditioning ages: ladder_ms.conditioning_hold, one period of System 2
_SLACK_S = 0.8


def test_a_picture_that_stands_still_ends_in_hold_with_the_cause_named() -> None:
    config = deepcopy(CONFIG)
    # The simulator's own cameras are exempt: there, nothing moves until something does.
    config["cameras"]["front"]["driver"] = "tandem.tools.faults.film:Film"
    with Rig(config) as rig:
        prepare(rig)
        rig.go("sweep")
        rig.watch(RAMP_S)
        assert np.abs(rig.states[-1].dq_cmd).max() > 0.2
        frozen_ns = time.monotonic_ns()
        (rig.folder / STILL).touch()
        rig.until(lambda: rig.mode() == "hold", _NOTICED_S + _TOO_OLD_S + _SLACK_S, "in hold")
        rig.until(lambda: np.abs(rig.states[-1].dq_cmd).max() < 1e-6, 1.0, "at rest")
        said = [e.text for e in rig.events if e.t_ns > frozen_ns and e.source == "camera"]
        assert any("front" in text for text in said), said
        (rig.folder / STILL).unlink()
        rig.watch(0.5)
        assert rig.mode() == "hold", "motion resumed by itself"
        rig.go("sweep")
        assert rig.mode() == "policy"
