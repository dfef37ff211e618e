"""What a recording says about itself: configuration, weights and source, as text."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import yaml
from tandem.runtime import arm_file
from tandem.runtime.clock import boot_id
from tandem.runtime.config import PACKAGED, Config

_BLOCK = 1 << 20
_SHIPPED = PACKAGED.parent / "policies" / "weights"


def facts(settings: Config, utc_offset_ns: int) -> Mapping[str, Mapping[str, str]]:
    """Metadata records by name; every value is text, as MCAP wants it."""
    return {
        "tandem": {
            "robot": settings.robot.name,
            "version": _version(),
            "revision": revision(),
            "machine": platform.node(),
            "boot_id": boot_id(),
            "joint_names": json.dumps(_joint_names(settings)),
            "utc_minus_monotonic_ns": str(utc_offset_ns),
            "pid": str(os.getpid()),
        },
        "config": {"yaml": yaml.safe_dump(msgspec.to_builtins(settings), sort_keys=False)},
        "weights": weight_hashes(settings),
    }


def weight_hashes(settings: Config) -> dict[str, str]:
    """SHA-256 of every file of the configured weights, by "s1/file" and "s2/file"."""
    found = {}
    for part in ("s1", "s2"):
        given = getattr(settings, part)
        for path in _files(given.weights) if given is not None and given.weights else []:
            found[f"{part}/{path.name}"] = _digest(path)
    return found


def revision() -> str:
    """The source's git revision, with a plus if files differ from it; "unknown" elsewhere."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("+" if changed else "")


def _files(weights: str) -> list[Path]:
    """A name of shipped weights, or a path with or without suffix."""
    given = Path(weights).expanduser()
    base = given if given.parent != Path() else _SHIPPED / given
    return sorted(p for p in base.parent.glob(f"{base.stem}.*") if p.is_file())


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _git(*words: str) -> str:
    here = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _joint_names(settings: Config) -> list[str]:
    return list(arm_file.load(Path(settings.robot.limits.file)).spec.joint_names)


def _version() -> str:
    try:
        return version("tandem-robot")
    except PackageNotFoundError:
        return "unknown"
