"""From the words of a configuration to a `Vla`. What can be refused is refused before loading."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.trunk.checkpoint import Checkpoint
from tandem.policies.vla.eyes import Seeing
from tandem.policies.vla.families import Family, family_of
from tandem.policies.vla.finetuned import FineTuned
from tandem.policies.vla.fingerprint import latent_id
from tandem.policies.vla.loading import PROJECTOR, Readout, device_of, dtype_of, networks
from tandem.policies.vla.mind import Mind, Ruled
from tandem.policies.vla.motion import ByMotion
from tandem.policies.vla.places import Room
from tandem.policies.vla.policy import Vla
from tandem.policies.vla.rules import NAMES, Placed, Wish, rule
from tandem.policies.vla.words import Prompter
from tandem.runtime.errors import ConfigError, RefusedError
from tandem.runtime.interfaces import S2Spec


def make(
    weights: str,
    cameras: Sequence[str],
    strategy: str = "none",
    thresholds: Sequence[float] = (0.5, 0.5),
    max_age_frames: int = 200,
    threads: int | None = 1,
    device: str = "auto",
    dtype: str = "bfloat16",
    readouts: int = 1,
    text_tokens: int = 64,
    family: str = "",
    prompt: str = "",
    tokenizer: str = "",
    pictures: int | None = None,
    projector: str = "",
    parts: str = "",
    partition: str = "",
    static: float = 0.9,
    lac_weights: str = "",
) -> Vla:
    """From a folder `weights` with config.json, safetensors and tokenizer.json.

    threads: of torch in this process, which S2 has to itself. readouts: the last so many tokens of
    the prompt are the latent. text_tokens: most tokens after the pictures. family, prompt,
    tokenizer: where the checkpoint does not say. pictures: that it was trained with, where that is
    not its family's number. projector: safetensors with `weight` and `bias` of the latent. parts:
    folder of a fine-tuned SD-VLA. partition: "motion", with the share `static` of the patches, is
    SD-VLA without training. lac_weights: of the strategy lac.

    Raises:
        ConfigError, RefusedError, WeightsError, DeviceError: with what to do.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if not weights:
        raise ConfigError("s2.weights is empty; give the folder of a downloaded checkpoint")
    checkpoint = Checkpoint(Path(weights).expanduser())
    asked = family_of(checkpoint, family)
    _check_cameras(cameras, asked, pictures)
    _check_strategy(strategy, parts, partition)
    if readouts < 1 or text_tokens < readouts:
        raise ConfigError(
            f"s2.options.readouts is {readouts} and text_tokens {text_tokens}; at least one token "
            "is read out, and read-outs are a part of the text"
        )
    given = Path(tokenizer) if tokenizer else checkpoint.folder / "tokenizer.json"
    wish = Wish(strategy, tuple(thresholds), max_age_frames, lac_weights, static)
    source = _Source(checkpoint, asked, Prompter(given, asked, prompt), tuple(cameras))
    backbone, mind, count = _built(
        source, wish, device_of(device), dtype_of(dtype), Path(parts) if parts else None,
        readouts, text_tokens,
    )  # fmt: skip
    file = Path(projector) if projector else _own_projector(checkpoint.folder)
    readout = Readout(file, mind.width)
    name = _latent_id(source, count, file, Path(parts) if parts else None)
    spec = S2Spec(name, (count, readout.width), source.cameras)
    return Vla(mind, backbone.eyes, source.prompter, readout, spec)


@dataclass(frozen=True)
class _Source:
    checkpoint: Checkpoint
    family: Family
    prompter: Prompter
    cameras: tuple[str, ...]


def _built(
    source: _Source,
    wish: Wish,
    device: torch.device,
    dtype: torch.dtype,
    parts: Path | None,
    readouts: int,
    text_tokens: int,
) -> tuple[Seeing, Mind, int]:
    """Backbone, mind, and how many rows it reads out: fine-tuned parts bring their own."""
    nets = networks(source.checkpoint.folder, device, dtype, parts)
    backbone = Seeing(nets.vision, nets.trunk, len(source.cameras))
    if nets.parts is not None:
        recache = Recache(wish.thresholds, max_age_frames=wish.max_age_frames)
        tuned = FineTuned(backbone.eyes, nets.parts, recache, _pad_token(source.checkpoint))
        return backbone, tuned, nets.parts.layout.readout
    words = source.prompter.words("rehearse")
    patches, bidirectional = nets.vision.patches, source.family.bidirectional
    sizes = len(words.head), len(words.gap), len(source.cameras), patches
    room = Room(*sizes, text_tokens, readouts, bidirectional)
    return backbone, Ruled(backbone, room, _placed(wish, backbone, room)), readouts


def _placed(wish: Wish, backbone: Seeing, room: Room) -> Placed:
    if wish.strategy == "sdvla":
        return ByMotion(backbone, room, wish.static, wish.max_age_frames)
    return Placed(rule(wish, backbone, room), room)


def _pad_token(checkpoint: Checkpoint) -> int:
    config = checkpoint.config
    text = config.get("text_config") or {}
    return config.get("pad_token_id") or text.get("pad_token_id") or 0


def _own_projector(folder: Path) -> Path | None:
    own = folder / PROJECTOR
    return own if own.exists() else None


def _latent_id(source: _Source, readouts: int, projector: Path | None, parts: Path | None) -> str:
    """Of all weights that the latent depends on, of the prompt, the read-outs and the cameras."""
    folder = source.checkpoint.folder
    told = {
        "prompt": asdict(source.prompter.words("rehearse")),
        "bidirectional": source.family.bidirectional,
        "readouts": readouts,
        "cameras": len(source.cameras),
    }
    own = [file for file in folder.glob("*.safetensors") if file.name != PROJECTOR]
    name = latent_id(own, told)
    if projector is not None:
        name = latent_id([projector], {"checkpoint": name})
    if parts is not None:
        name = latent_id(parts.glob("*.safetensors"), {"checkpoint": name}, skip="gate.")
    return name


def _check_cameras(cameras: Sequence[str], family: Family, pictures: int | None) -> None:
    wanted = pictures or family.pictures
    if not cameras:
        raise ConfigError("s2.cameras is empty; name at least one camera")
    if wanted is not None and wanted != len(cameras):
        raise ConfigError(
            f"s2.cameras lists {len(cameras)} ({', '.join(cameras)}), this checkpoint was trained "
            f"with {wanted} picture{'s' * (wanted != 1)}; list so many, or say what your own "
            "training used as s2.options.pictures"
        )


def _check_strategy(strategy: str, parts: str, partition: str) -> None:
    if strategy not in (*NAMES, "sdvla"):
        known = ", ".join((*NAMES, "sdvla"))
        raise RefusedError(f"cache strategy '{strategy}' is unknown; use one of {known}")
    if partition not in ("", "motion"):
        raise ConfigError(f"s2.options.partition {partition!r} is none; motion, or leave it out")
    if (parts or partition) and (strategy != "sdvla" or (parts and partition)):
        raise ConfigError(
            "s2.options.parts (trained) and s2.options.partition (motion, not trained) are two "
            "kinds of SD-VLA: give one of them, with s2.cache.strategy sdvla"
        )
    if strategy == "sdvla" and not parts and not partition:
        raise RefusedError(
            "the cache strategy sdvla needs parts that were trained with this checkpoint: train "
            "them (policies/caches/sdvla/recipe.py) and give their folder as s2.options.parts; or "
            "set s2.options.partition to motion, which needs no training; or take another strategy"
        )
