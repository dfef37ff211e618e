"""A folder of each kind, written once; and what is read out, before it is rounded."""

from pathlib import Path

import numpy as np
import pytest
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.session import Reading, Session

from tests.policies.vla import checkpoints

Said = list[tuple[Layout, Reading]]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("vla")
    return {kind: checkpoints.save(kind, base / kind) for kind in checkpoints.KINDS}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """Every reading, before it is rounded to what is sent."""
    heard: Said = []
    step = Session.step

    def recorded(self: Session, image: np.ndarray) -> Reading:
        heard.append((self.layout, step(self, image)))
        return heard[-1][1]

    monkeypatch.setattr(Session, "step", recorded)
    return heard
