"""Thresholds from recordings: what System 2 saw is found again, and the rates come out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tandem.policies.s2.storage import load_model
from tandem.runtime.errors import ConfigError
from tandem.tools.record import eyes
from tandem.tools.record.reader import Picture, Recording
from tandem.tools.train import thresholds


@dataclass
class Film:
    """As much of a recording as is read: every second picture was looked at, one is lost."""

    images: np.ndarray  # [T, H, W, 3]
    restarted: int  # picture at which System 2 was started again
    lost: int

    def entries(self, stream: str) -> Iterator[SimpleNamespace]:
        seq = 0
        for frame_seq in range(0, len(self.images), 2):
            seq = 0 if frame_seq in (0, self.restarted) else seq + 1
            yield SimpleNamespace(message=SimpleNamespace(seq=seq, frame_seq=frame_seq))

    def pictures(self, camera: str) -> Iterator[Picture]:
        for seq, image in enumerate(self.images):
            if seq != self.lost:
                yield Picture(camera, seq, seq, seq, eyes.encode(image, "png"))


def film(count: int) -> np.ndarray:
    """A square that wanders over a grey table; now and then it is somewhere else."""
    rng = np.random.default_rng(0)
    images = np.full((count, 128, 128, 3), 120, np.uint8)
    place = np.array([40, 40])
    for i, image in enumerate(images):
        place = rng.integers(0, 96, 2) if i % 23 == 0 else place
        y, x = place
        image[y : y + 24, x : x + 24] = (200, 30, 30)
        image += rng.integers(0, 4, image.shape, dtype=np.uint8)
    return images


def test_the_pictures_that_system_2_saw_come_back_life_by_life() -> None:
    images = film(20)
    first, second = thresholds.seen(Film(images, restarted=12, lost=4), "front")  # type: ignore[arg-type]
    assert np.array_equal(first, images[[0, 2, 6, 8, 10]])
    assert np.array_equal(second, images[12::2])


def test_the_shipped_gate_fires_as_often_as_asked() -> None:
    model = load_model("pick_s2")
    found = thresholds.fit(model, [film(120)], (0.01, 0.2), max_age_frames=10_000)
    assert found.rates[0] <= 0.01
    assert 0.02 <= found.rates[1] <= 0.2


def test_a_recording_without_a_system_2_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(thresholds, "Recording", lambda folder: object.__new__(Recording))
    monkeypatch.setattr(thresholds, "settings_of", lambda *_: SimpleNamespace(s2=None))
    with pytest.raises(ConfigError, match="without the weights of a System 2"):
        thresholds.calibrate([tmp_path], (0.1, 0.1))
