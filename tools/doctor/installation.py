"""The installation: versions of what Tandem stands on, pictures, and what inference runs on."""

import platform
import re
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from tandem.tools.doctor.finding import Finding, advice, ok, wrong
from tandem.tools.doctor.probes import Tried

_DISTRIBUTION = "tandem-robot"
_CONSTRAINTS = Path(__file__).resolve().parent.parent.parent / "constraints.txt"


@dataclass(frozen=True)
class Packages:
    """Version by name: what is required (extras left out), installed, and what CI runs with."""

    required: tuple[str, ...] = ()
    installed: dict[str, str] = field(default_factory=dict)
    pinned: dict[str, str] = field(default_factory=dict)


def packages() -> Packages:
    required = tuple(sorted({_name(r) for r in _requirements() if _is_for_here(r)}))
    installed = {}
    for name in required:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Packages(required, installed, _pins())


def versions(facts: Packages) -> Finding:
    missing = [name for name in facts.required if name not in facts.installed]
    if missing:
        return wrong(
            "Python packages",
            f"missing: {', '.join(missing)}",
            "whoever imports it ends while starting",
            "make setup, or: pip install -c constraints.txt -e .",
        )
    others = [
        f"{name} {version} ({facts.pinned[name]})"
        for name, version in facts.installed.items()
        if name in facts.pinned and version.partition("+")[0] != facts.pinned[name]
    ]
    if others:
        return advice(
            "Python packages",
            f"not the tested versions: {', '.join(others)}",
            "the tests ran with those in brackets",
            "pip install -c constraints.txt -e .",
        )
    return ok("Python packages", f"{len(facts.installed)}, as tested")


def pictures(tried: Tried) -> Finding:
    """Simulated cameras render with EGL or OSMesa; a driver may crash doing so."""
    if tried.failed:
        return wrong(
            "rendering",
            tried.failed,
            "the simulated cameras see nothing",
            "sudo apt-get install libegl1 libgl1, or libosmesa6 with MUJOCO_GL=osmesa",
        )
    backend, brightest = tried.answer
    if brightest == 0:
        return wrong(
            "rendering",
            f"{backend} draws only black",
            "the simulated cameras see nothing",
            "MUJOCO_GL=osmesa, with sudo apt-get install libosmesa6",
        )
    return ok("rendering", backend)


def inference(tried: Tried, has_gpu: bool) -> Finding:
    """What System 1 really runs on; a GPU whose libraries do not load is passed over in silence."""
    if tried.failed:
        return wrong(
            "inference",
            tried.failed,
            "System 1 cannot plan",
            "make setup; if it stays, the weights are damaged: restore policies/weights",
        )
    name = str(tried.answer).removesuffix("ExecutionProvider")
    if has_gpu and name == "CPU":
        return advice(
            "inference",
            "CPU, though there is a GPU",
            "CUDA's libraries did not load, so the GPU stands idle",
            "pip install 'onnxruntime-gpu[cuda,cudnn]', then tandem doctor again",
        )
    return ok("inference", name)


def has_gpu(root: Path = Path("/")) -> bool:
    return (root / "proc/driver/nvidia/version").exists() or (root / "dev/nvidiactl").exists()


def _requirements() -> list[str]:
    try:
        return metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


def _is_for_here(requirement: str) -> bool:
    """Not those of an extra, nor those for another kind of processor."""
    marker = requirement.partition(";")[2]
    if "extra" in marker:
        return False
    machine = re.search(r'platform_machine\s*==\s*["\'](\w+)', marker)
    return machine is None or machine[1] == platform.machine()


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return found[0].lower() if found else requirement


def _pins() -> dict[str, str]:
    """Of a checkout; an installed wheel has none."""
    if not _CONSTRAINTS.is_file():
        return {}
    pairs = (line.strip().split("==") for line in _CONSTRAINTS.read_text().splitlines())
    return {pair[0].lower(): pair[1] for pair in pairs if len(pair) == 2}
