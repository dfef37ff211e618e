"""Two workers share the tests (`make test`): files with daemons run one after the other in one of
them, above everything else in priority; the other fills the rest of the machine, file by file."""

import contextlib
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

_BACKGROUND_NICE = 10
# Of every process that a test starts, too: threads that spin while they wait starve all others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hypothesis fails an example that takes 0.2 s: on a crowded machine any may. And a run of the tests
# judges a change, not luck: the same examples every time; `--hypothesis-profile explore`: others.
slow = [HealthCheck.too_slow, *settings.default.suppress_health_check]
settings.register_profile("explore", deadline=None, suppress_health_check=slow, derandomize=False)
settings.register_profile("steady", settings.get_profile("explore"), derandomize=True)
settings.load_profile("steady")


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of its own with a short name: the path of a socket has at most 107 bytes."""
    return tmp_path_factory.mktemp("t")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return ByFile(config, log)


class ByFile(LoadScopeScheduling):
    """All files that start daemons are one scope, every other one its own."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "daemons" if _has_daemons(self.config.rootpath / file) else file


@cache
def _has_daemons(file: Path) -> bool:
    return "mark.process" in file.read_text()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Only root may take its own niceness back; then daemons share with their equals.
        with contextlib.suppress(PermissionError):
            nice = 0 if _has_daemons(item.path) else _BACKGROUND_NICE
            os.setpriority(os.PRIO_PROCESS, 0, nice)
