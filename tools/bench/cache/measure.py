"""`tandem bench cache`: every cache on the same backbone and frames, interleaved, in one run.

Beside them runs the floor: one row through the trunk, which is reading its weights once. No cache
can be faster than that, whatever its multiply-adds say.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tandem.policies.caches.error import relative_error
from tandem.policies.caches.session import Backbone
from tandem.runtime.errors import ConfigError, DeviceError
from tandem.tools.bench import output
from tandem.tools.bench.bars import Bar
from tandem.tools.bench.cache import analysis, backbones, films, shipped
from tandem.tools.bench.cache.films import Film
from tandem.tools.bench.cache.samples import Sample, Spent
from tandem.tools.bench.cache.streams import NAMES, Stream, streams
from torch import Tensor

_REHEARSAL_FRAMES = 160  # 16 s: an errand and a half, for a rate of refreshes to be read off
_REHEARSAL_SEED = 9000  # far from any seed of a measured film
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    backbone: str = "half"
    caches: tuple[str, ...] = ()  # all
    frames: int = 60
    footage: Path | None = None  # None: the simulator
    dtype: str = "bfloat16"
    device: str = "cpu"
    threads: int = 1  # as System 2 has them; 0: as many as there are cores
    seed: int = 1
    insist: bool = False
    episodes: int = 20  # closed-loop scenes a cache, where the model is the shipped one
    cameras: int = 1


def measure(settings: Settings, tell: output.Tell) -> dict[str, Any]:
    """Run it; the finished document.

    Raises:
        ConfigError, DeviceError: see `_device`, `backbones.build` and `films.footage`.
    """
    if settings.dtype not in _DTYPES:
        raise ConfigError(f"--dtype {settings.dtype}: it is one of {', '.join(_DTYPES)}")
    if settings.caches and "none" not in settings.caches:
        raise ConfigError("--caches has no `none`, which all others are compared with")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    bench = _shipped if settings.backbone == shipped.NAME else _on_trunk
    body, bars = bench(settings, tell)
    return output.document("cache", 1, body, bars)


def _on_trunk(settings: Settings, tell: output.Tell) -> tuple[dict[str, Any], list[Bar]]:
    """A published shape with random weights."""
    device, dtype = _device(settings.device), _DTYPES[settings.dtype]
    tell(f"cache: {settings.backbone} on {device}, {settings.dtype}")
    backbone = backbones.build(
        settings.backbone, dtype, device, settings.insist, cameras=settings.cameras
    )
    film, rehearsal = _films(settings, backbone.vision.size)
    tell(f"cache: learning what has to be learnt from {len(rehearsal.images)} other frames")
    shape = backbones.SHAPES[settings.backbone]
    runners = streams(settings.caches or NAMES, backbone, rehearsal, shape.asked)
    body = _measured(settings, film, runners, OneRow(backbone), tell)
    small = settings.backbone == "small"  # a shape for tests: nothing was promised of it
    return body, [] if small else analysis.bars(body, settings.dtype, shape.speedup)


def _shipped(settings: Settings, tell: output.Tell) -> tuple[dict[str, Any], list[Bar]]:
    """Trained weights: successes, too."""
    if settings.cameras != 1:
        raise ConfigError(
            f"--cameras {settings.cameras}: the shipped System 2 sees one; --backbone half sees "
            "as many as there are"
        )
    if settings.footage is not None:
        raise ConfigError("--footage: the shipped System 2 knows the simulated cell alone")
    settings = replace(settings, dtype="float32", device="cpu")
    names = settings.caches or tuple(shipped.KINDS)
    runners = shipped.streams(names)
    film = films.simulated(settings.seed, settings.frames, runners["none"].size)
    body = _measured(settings, film, runners, runners["none"].one_row, tell)
    body["picks"] = shipped.successes(names, settings.episodes, settings.seed, tell)
    return body, shipped.bars(body)


def _measured(
    settings: Settings,
    film: Film,
    runners: Mapping[str, Stream],
    floor: Callable[[], float],
    tell: output.Tell,
) -> dict[str, Any]:
    tell(f"cache: {len(film.images)} frames of {film.name}")
    samples, floor_s = run(runners, film, floor)
    return {
        "settings": {**asdict(settings), "footage": film.name},
        "threads": torch.get_num_threads(),
        "clips": len(film.begins),
        "memory_mib": {name: stream.held_bytes() / 2**20 for name, stream in runners.items()},
        **analysis.analyse(samples, floor_s),
    }


def run(
    runners: Mapping[str, Stream], film: Film, floor: Callable[[], float]
) -> tuple[dict[str, list[Sample]], list[float]]:
    """Samples of each cache, frame by frame, and what `floor` measured [s] after each frame.

    Whoever comes first finds the processor's caches as the one before left them; so the order goes
    round.
    """
    samples: dict[str, list[Sample]] = defaultdict(list)
    floor_s = []
    names = list(runners)
    errands = film.errands or ("",) * len(film.images)
    for frame, (image, errand) in enumerate(zip(film.images, errands, strict=True)):
        first = frame in film.begins
        taken: dict[str, tuple[Tensor, float, Spent]] = {}
        for name in _rotated(names, frame):
            stream = runners[name]
            if first:
                stream.reset()
            begin_s = time.perf_counter()
            read = stream.step(image, errand)
            wall_s = time.perf_counter() - begin_s
            taken[name] = (read, wall_s, stream.spent())
        floor_s.append(floor())
        whole = taken["none"][0]
        for name, (read, wall_s, spent) in taken.items():
            truth = runners[name].truth(image)
            error = relative_error(read, whole if truth is None else truth)
            samples[name].append(Sample(frame, first, wall_s, spent, error))
    return dict(samples), floor_s


class OneRow:
    """One row through the trunk (on a GPU the fewest that are recorded): its weights are read once,
    and hardly anything is computed.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        trunk, device = backbone.trunk, backbone.device
        self._kv = trunk.store(1)
        self._x = torch.ones(1, 1, trunk.config.width, dtype=backbone.dtype, device=device)
        self._row = torch.zeros(1, dtype=torch.long, device=device)
        self._seen = torch.ones(1, 1, dtype=torch.bool, device=device)

    def __call__(self) -> float:
        """Seconds."""
        begin_s = self._now_s()
        self._backbone.trunk.step(self._x, self._row, self._row, self._seen, self._kv)
        return self._now_s() - begin_s

    def _now_s(self) -> float:
        if self._backbone.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def _device(name: str) -> torch.device:
    """Raises ConfigError: there is no such kind. DeviceError: none of it is here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: it is cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"--device {name}: torch sees no GPU; `tandem doctor` says why")
    return device


def _films(settings: Settings, size: int) -> tuple[Film, Film]:
    """What is to be measured, and another film like it to learn from."""
    if settings.footage is None:
        seed, cameras = settings.seed, settings.cameras
        film = films.simulated(seed, settings.frames, size, cameras)
        other = films.simulated(_REHEARSAL_SEED + seed, _REHEARSAL_FRAMES, size, cameras)
        return film, other
    wanted = settings.frames + _REHEARSAL_FRAMES
    whole = films.footage(settings.footage, size, wanted, settings.cameras)
    count = len(whole.images) - _REHEARSAL_FRAMES
    cut = max((begin for begin in whole.begins if begin <= max(count, 0)), default=0)
    if not cut:
        raise ConfigError(
            f"--footage {settings.footage} has {len(whole.images)} frames; "
            f"{_REHEARSAL_FRAMES} of them are set apart to learn from, and too few are left"
        )
    return whole.cut(cut)


def _rotated(names: Sequence[str], by: int) -> Iterator[str]:
    for i in range(len(names)):
        yield names[(i + by) % len(names)]
