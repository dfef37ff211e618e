"""Thresholds of System 2's recache gate from recordings of one's own cell.

The gate was trained on simulated changes; how often it fires before another camera is a matter of
thresholds. They are set so that each level is refreshed as often as wanted on frames that System 2
really saw.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from tandem.policies.caches.sdvla.calibrate import Calibrated, Calibration, Shares
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.storage import load_model
from tandem.policies.s2.stream import model_features
from tandem.runtime.errors import ConfigError
from tandem.tools.record import eyes
from tandem.tools.record.reader import Recording
from tandem.tools.replay.source import settings_of


def calibrate(
    folders: Sequence[Path], rates: Sequence[float], overrides: Sequence[str] = ()
) -> Calibrated:
    """Thresholds for these shares of frames with a refresh, L1 then L2.

    Weights and greatest age are those of the first recording's configuration.

    Raises:
        ConfigError: no System 2 ran, or fewer than two of the pictures it saw are there.
        WeightsError: its weights are missing.
    """
    recordings = [Recording(folder) for folder in folders]
    settings = settings_of(recordings[0], list(overrides))
    if settings.s2 is None or not settings.s2.weights:
        raise ConfigError(f"{folders[0]} was recorded without the weights of a System 2")
    model, camera = load_model(settings.s2.weights), settings.s2.cameras[0]
    lives = [images for recording in recordings for images in seen(recording, camera)]
    if not lives:
        raise ConfigError("too few of the pictures that System 2 saw are there: nothing to replay")
    return fit(model, lives, rates, settings.s2.cache.max_age_frames)


def seen(recording: Recording, camera: str) -> Iterator[np.ndarray]:
    """Pictures [T, H, W, 3] that System 2 looked at, one array for each time it was started."""
    lives: list[list[int]] = []
    for entry in recording.entries("conditioning"):
        if not lives or entry.message.seq == 0:
            lives.append([])
        lives[-1].append(entry.message.frame_seq)
    encoded = {picture.seq: picture.encoded for picture in recording.pictures(camera)}
    for life in lives:
        there = [eyes.decode(encoded[seq]) for seq in life if seq in encoded]
        if len(there) > 1:
            yield np.stack(there)


@torch.inference_mode()
def fit(
    model: S2Model, lives: Sequence[np.ndarray], rates: Sequence[float], max_age_frames: int
) -> Calibrated:
    """lives: what System 2 saw in order of time, [T, H, W, 3] uint8 each."""
    shares = [Shares.of(model.gate, model_features(model, images)) for images in lives]
    return Calibration(model.gate, shares, max_age_frames=max_age_frames).fit(rates)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    recordings: Annotated[list[Path], typer.Argument(metavar="RECORDING", help="One or more.")],
    rate: Annotated[
        tuple[float, float], typer.Option(help="Shares of frames that refresh L1 and L2.")
    ] = (0.005, 0.05),
    override: Annotated[
        list[str] | None,
        typer.Option("--config-override", help="key=value, e.g. s2.weights=mine; repeatable."),
    ] = None,
) -> None:
    """Set the recache gate's thresholds so that your own recordings refresh this often."""
    found = calibrate(recordings, rate, override or [])
    for level, (wanted, got) in enumerate(zip(rate, found.rates, strict=True), 1):
        typer.echo(f"L{level}: {got:.2%} of frames refreshed, {wanted:.2%} wanted")
    limits = ", ".join(f"{threshold:.4f}" for threshold in found.thresholds)
    typer.echo(f"s2: {{cache: {{thresholds: [{limits}]}}}}")


if __name__ == "__main__":
    app()
