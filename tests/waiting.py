"""Waiting for what somebody else does, for as long as a crowded machine may take."""

import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """What it gives, once that is something."""
    end_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.002)
    return found
