"""A seam of some microradians must pass unnoticed, not lead the arm through standstill."""

import numpy as np
import pytest
from tandem.runtime.interpolate import Dynamics, Follower, Motion

D, DT_S = 7, 0.005
MOVING = Dynamics(np.full(D, 1.09), np.full(D, 3.75), np.full(D, 375.0))


@pytest.mark.parametrize("seam_rad", [2e-6, 2e-5, 2e-4, -2e-5, -2e-4])
def test_a_seam_while_moving_costs_no_speed(seam_rad: float) -> None:
    """One joint's path steps aside once; all joints go on at 0.4 rad/s."""
    follower, speed = Follower(MOVING), 0.4
    now = Motion.of(np.zeros(D), np.full(D, speed), np.zeros(D))
    seam = np.zeros(D)
    slowest, offsets = speed, []
    for k in range(1, 80):
        seam[2] = seam_rad if k >= 10 else 0.0
        target = Motion.of(np.full(D, speed * k * DT_S) + seam, np.full(D, speed), np.zeros(D))
        now = follower.track(now, target, DT_S)
        slowest = min(slowest, float(now.dq.min()))
        offsets.append(float(abs(now.q - target.q).max()))
    assert slowest > 0.9 * speed
    assert offsets[-1] < 1e-6
