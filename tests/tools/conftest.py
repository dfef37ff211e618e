"""What several tests of recordings share: one run, recorded once."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tools.recorded_run import SWEEP, overridden, tandem


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """Where daemons have their runtime directories; they leave nothing there."""
    path = Path(tempfile.mkdtemp(prefix="tandem-test-", dir="/dev/shm"))
    yield path
    path.rmdir()


@pytest.fixture(scope="session")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Three seconds of the simulated arm: its recording, and the run's own report.

    A starved machine may plan next to nothing, or a plan that comes out outdated: that one is not
    recorded, and the scripted mind remembers that it was asked. Then once more.
    """
    for _ in range(4):
        folder, report = recorded(base, tmp_path_factory.mktemp("recorded"))
        outdated = "outdated" in report["loops"]["s1"]["counters"]
        if report["chunks"].get("joined", 0) > 10 and not outdated:
            break
    return folder, report


def recorded(base: Path, out: Path) -> tuple[Path, dict[str, Any]]:
    words = ["--go", "sweep", "--seconds", "3", "--images", "png", *overridden(*SWEEP)]
    words += ["--record-to", str(out), "--report", str(out / "report.json")]
    done = tandem("run", "sim_panda", *words, base=base)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = out.glob("sim_panda-*")
    assert f"recorded in {folder}" in done.stdout
    return folder, json.loads((out / "report.json").read_text())


@pytest.fixture
def folder(run: tuple[Path, dict[str, Any]]) -> Path:
    return run[0]
