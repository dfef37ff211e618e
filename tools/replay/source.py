"""What a replay is made from: the recorded configuration, and what has changed since."""

import tempfile
from pathlib import Path

import yaml
from tandem.runtime import config
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError
from tandem.tools.record.facts import revision, weight_hashes
from tandem.tools.record.reader import Recording


def settings_of(recording: Recording, overrides: list[str]) -> Config:
    """The configuration that was recorded; the arm's limits are found here if not there.

    Raises:
        ConfigError: it does not fit this version.
    """
    raw = yaml.safe_load(recording.config_yaml)
    limits = Path(raw["robot"]["limits"]["file"])
    if not limits.is_file():
        raw["robot"]["limits"]["file"] = f"limits/{limits.name}"
    with tempfile.TemporaryDirectory(prefix="tandem-replay-") as folder:
        file = Path(folder) / "recorded.yaml"
        file.write_text(yaml.safe_dump(raw))
        return config.load(file, overrides)


def changes(recording: Recording, settings: Config) -> list[str]:
    """Why decisions may rightly differ, in words."""
    found, now = [], weight_hashes(settings)
    for name, digest in recording.facts.get("weights", {}).items():
        if now.get(name) != digest:
            found.append(f"{name} is not the file that was recorded with")
    before, here = recording.facts["tandem"]["revision"], revision()
    if before != here:
        found.append(f"recorded with revision {before[:12]}, replayed with {here[:12]}")
    return found


def refuse_holes(recording: Recording, *streams: str) -> None:
    """Raises ConfigError when something is missing of what decided."""
    holes = recording.holes(*streams)
    if holes:
        more = f" and {len(holes) - 3} more" if len(holes) > 3 else ""
        raise ConfigError(
            f"{recording.path} has a hole: {'; '.join(holes[:3])}{more}. A replay would guess, so "
            "there is none; `tandem export trace` shows what is there"
        )
