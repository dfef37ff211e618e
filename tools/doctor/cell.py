"""The robot as configured: can its weights be loaded, do they belong together, is there room."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tandem.runtime import config
from tandem.runtime.errors import ConfigError
from tandem.tools.doctor.finding import Finding, advice, ok, wrong

_SHIPPED = config.PACKAGED.parent / "policies" / "weights"
_BUILT_IN = {"s2": ("sdvla",), "s1": ("chunk_mlp", "chunk_flow")}
_SUFFIXES = {"s2": (".safetensors", ".json"), "s1": (".onnx", ".safetensors", ".json")}
_GIB = 1 << 30
_TRAIN = "tandem train --out FOLDER makes both; or git checkout -- policies/weights"


@dataclass(frozen=True)
class Weights:
    """Of one mind: its file without suffix, what of it is missing, and whose latents it knows."""

    path: Path
    missing: tuple[str, ...] = ()
    latent_id: str | None = None


@dataclass(frozen=True)
class Disk:
    path: Path  # the nearest folder that exists
    free_bytes: int
    wanted_bytes: int
    writable: bool = True


def configuration(name: str) -> tuple[Finding, config.Config | None]:
    try:
        settings = config.load(name)
    except ConfigError as error:
        sick = wrong("configuration", str(error), "nothing starts with it", "correct the file")
        return sick, None
    return ok("configuration", f"{name}: {settings.robot.name}"), settings


def weights(settings: config.Config) -> dict[str, Weights]:
    """Of the minds that are built in; one's own loads in its own way."""
    return {
        part: _weights(part, section.weights)
        for part in ("s2", "s1")
        if (section := getattr(settings, part)) is not None and section.policy in _BUILT_IN[part]
    }


def _weights(part: str, name: str) -> Weights:
    given = Path(name).expanduser()
    path = given if len(given.parts) > 1 or given.suffix else _SHIPPED / given
    path = path.with_suffix("") if path.suffix in _SUFFIXES[part] else path
    files = [path.with_suffix(suffix) for suffix in _SUFFIXES[part]]
    missing = tuple(file.name for file in files if not file.is_file())
    try:
        about = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return Weights(path, missing or (f"{path.name}.json (damaged)",))
    return Weights(path, missing, about.get("latent_id"))


def minds(found: dict[str, Weights]) -> Finding:
    """Both there, and System 1 trained on what System 2 says."""
    missing = [f"{w.path.parent / name}" for w in found.values() for name in w.missing]
    if missing:
        return wrong("weights", f"missing: {', '.join(missing)}", "the daemon cannot start", _TRAIN)
    ids = {part: w.latent_id for part, w in found.items()}
    if len(ids) == 2 and ids["s1"] not in (None, ids["s2"]):
        return wrong(
            "weights",
            f"System 1 was trained on latents {ids['s1']}, System 2 makes {ids['s2']}",
            "System 1 refuses to start: it would move by what it misunderstands",
            _TRAIN,
        )
    return ok("weights", ", ".join(f"{part} {w.path.name}" for part, w in found.items()) or "none")


def disk(path: str, max_gib: float) -> Disk:
    folder = Path(path).expanduser().absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return Disk(folder, free, round(max_gib * _GIB), os.access(folder, os.W_OK))


def room(facts: Disk) -> Finding:
    found = f"{facts.free_bytes / _GIB:.1f} GiB free in {facts.path}"
    wanted = f"{facts.wanted_bytes / _GIB:g} GiB"
    if not facts.writable:
        return wrong(
            "disk",
            f"{facts.path} is not writable",
            "--record could not write there",
            "set record.path to a folder of yours",
        )
    if facts.free_bytes < _GIB:
        return wrong(
            "disk", found, "recordings end within minutes", "free some, or set record.path"
        )
    if facts.free_bytes < facts.wanted_bytes:
        return advice(
            "disk",
            f"{found}, a recording may take {wanted}",
            "it would fill the disk, and everything else on it then fails",
            f"free some, or set record.max_gib below {facts.free_bytes / _GIB:.0f}",
        )
    return ok("disk", found)
