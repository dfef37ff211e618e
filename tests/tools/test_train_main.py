"""The whole training with a budget of a minute: every stage runs, and what it ships can be used."""

import json
from pathlib import Path

import numpy as np
import pytest
from tandem.policies.s1.policy import ChunkPolicy
from tandem.policies.s2.policy import SdVla
from tandem.tools.train.main import QUICK, train
from tandem.tools.train.progress import Progress


@pytest.mark.timeout(300)
def test_quick_training_makes_weights_that_fit_together(tmp_path: Path) -> None:
    facts = train(tmp_path / "weights", seed=3, recipe=QUICK, progress=Progress(quiet=True))
    s1 = ChunkPolicy(tmp_path / "weights" / "pick_s1")
    s2 = SdVla.from_weights(tmp_path / "weights" / "pick_s2", threads=None)
    assert s1.spec.latent_id == s2.spec.latent_id
    assert facts["seed"] == 3
    assert facts["figures"]["closed loop"]["pick/none"]["episodes"] == 1
    assert np.isfinite(facts["figures"]["pick_s1"]["losses"]).all()
    stored = json.loads((tmp_path / "weights" / "card.json").read_text())
    assert stored["recipe"]["amounts"]["demos"] == QUICK.amounts.demos
    card = (tmp_path / "weights" / "MODEL_CARD.md").read_text()
    assert "4 demonstrations" in card
    assert "| L2 | " in card
    assert str(tmp_path) not in card
