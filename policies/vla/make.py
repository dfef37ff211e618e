"""From `Options` to a `Vla`."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.trunk.checkpoint import Checkpoint
from tandem.policies.vla import oft, statistics
from tandem.policies.vla.axes import InAxes
from tandem.policies.vla.eyes import Seeing
from tandem.policies.vla.families import Family, family_of
from tandem.policies.vla.finetuned import FineTuned
from tandem.policies.vla.fingerprint import latent_id
from tandem.policies.vla.loading import PROJECTOR, Readout, device_of, dtype_of, networks
from tandem.policies.vla.mind import Mind, Ruled
from tandem.policies.vla.motion import ByMotion, static_patches
from tandem.policies.vla.options import Options
from tandem.policies.vla.places import Room
from tandem.policies.vla.policy import Vla
from tandem.policies.vla.proprio import Proprio
from tandem.policies.vla.rules import Placed, rule
from tandem.policies.vla.words import Prompter, Words
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import S2Spec

LATENT_MAX_BYTES = 1000 << 10  # what the conditioning stream carries (runtime/streams.py), less
# what stands around a latent


def make(options: Options) -> Vla:
    """Loads, rehearses, and is ready to be asked.

    Raises:
        ConfigError, RefusedError, WeightsError, DeviceError: with what to do.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    source = _source(options)
    backbone, mind, readouts = _built(options, source)
    projector = options.projector_file or _own_projector(options.folder)
    readout = Readout(projector, mind.width)
    _check_size(readouts, readout.width)
    name = _latent_id(options, source, readouts, projector)
    told = source.state is not None
    spec = S2Spec(name, (readouts, readout.width), tuple(options.cameras), wants_state=told)
    return Vla(mind, backbone.eyes, source.prompter, readout, spec, source.state)


@dataclass(frozen=True)
class _Source:
    """What is known of a checkpoint before its weights are loaded."""

    checkpoint: Checkpoint
    family: Family
    prompter: Prompter
    text_tokens: int
    state: Proprio | None = None  # of the arm, where it is told
    projector: oft.Projector | None = None  # of that to a row

    def words(self) -> Words:
        """What stands around an instruction is always the same, and so is what it means."""
        return self.prompter.words("rehearse", np.ones(self.state.count) if self.state else None)


def _source(options: Options) -> _Source:
    oft.check_merged(options.folder)
    checkpoint = Checkpoint(options.folder)
    family = options.fitted(family_of(checkpoint, options.family))
    prompter = Prompter(options.tokenizer_file, family, len(options.cameras))
    if options.told is None:
        return _Source(checkpoint, family, prompter, options.room_for_text(0))
    trained = statistics.trained(options.told, checkpoint, family.state_row)
    state = Proprio(options.told, options.arm, trained)
    projector = oft.projector(options.folder, state.count) if family.state_row else None
    text_tokens = options.room_for_text(state.count if family.state_words else 0)
    return _Source(checkpoint, family, prompter, text_tokens, state, projector)


def _built(options: Options, source: _Source) -> tuple[Seeing, Mind, int]:
    """Backbone, mind, and how many rows it reads out: fine-tuned parts bring their own."""
    device, dtype = device_of(options.device), dtype_of(options.dtype)
    nets = networks(options.folder, device, dtype, options.parts_folder, options.picture_px)
    backbone = Seeing(nets.vision, nets.trunk, len(options.cameras), options.crop)
    if nets.parts is not None:
        recache = Recache(options.thresholds, max_age_frames=options.max_age_frames)
        pad = _pad_token(source.checkpoint)
        tuned = FineTuned(backbone.eyes, nets.parts, recache, pad, source.family)
        return backbone, tuned, nets.parts.layout.readout
    room = _room(options, source, nets.vision.patches)
    placed = _placed(options, source, backbone, room)
    projector = source.projector.beside(nets.trunk) if source.projector else None
    return backbone, Ruled(backbone, room, placed, projector), room.readouts


def _room(options: Options, source: _Source, patches: int) -> Room:
    words = source.words()
    slots, visual = source.family.slots, patches * len(options.cameras)
    sdvla = options.strategy == "sdvla"
    return Room(
        head=len(words.head),
        gap=len(words.gap) // max(len(options.cameras) - 1, 1),
        pictures=len(options.cameras),
        patches=patches,
        text=source.text_tokens + len(words.ending),
        readouts=slots or options.readouts or 1,
        unread=1 + len(words.ending) - slots if slots else 0,  # the last slot, and what follows
        bidirectional=source.family.bidirectional,
        levels=(static_patches(options.static, visual),) if sdvla else (),
    )


def _placed(options: Options, source: _Source, backbone: Seeing, room: Room) -> Placed:
    if options.strategy == "sdvla":
        placed: Placed = ByMotion(backbone, room, options.max_age_frames)
    else:
        placed = Placed(rule(options, source.family, backbone, room), room)
    three = bool(backbone.trunk.config.mrope)
    return InAxes(placed, room, backbone.vision.grid) if three else placed


def _check_size(readouts: int, width: int) -> None:
    size = readouts * width * 2  # float16
    if size > LATENT_MAX_BYTES:
        raise ConfigError(
            f"a latent of {readouts}×{width} numbers is {size >> 10} KiB, System 2 can send "
            f"{LATENT_MAX_BYTES >> 10}; make each narrower by a learned map, s2.options.projector"
        )


def _pad_token(checkpoint: Checkpoint) -> int:
    config = checkpoint.config
    text = config.get("text_config") or {}
    return config.get("pad_token_id") or text.get("pad_token_id") or 0


def _own_projector(folder: Path) -> Path | None:
    own = folder / PROJECTOR
    return own if own.exists() else None


def _latent_id(options: Options, source: _Source, readouts: int, projector: Path | None) -> str:
    """Of all weights that the latent depends on, of the prompt, the read-outs and the cameras."""
    told = {
        "prompt": _told(source.words()),
        "bidirectional": source.family.bidirectional,
        "readouts": readouts,
        "cameras": len(options.cameras),
        "crop": options.crop,
        **({"picture_px": options.picture_px} if options.picture_px else {}),
        **({"state": source.state.facts()} if source.state else {}),
        **({"projector": source.projector.digest} if source.projector else {}),
    }
    own = [file for file in options.folder.glob("*.safetensors") if file.name != PROJECTOR]
    name = latent_id(own, told)
    if projector is not None:
        name = latent_id([projector], {"checkpoint": name})
    if options.parts_folder is not None:
        files = options.parts_folder.glob("*.safetensors")
        name = latent_id(files, {"checkpoint": name}, skip="gate.")
    return name


def _told(words: Words) -> dict[str, list[int]]:
    """Names of latents that were given before there were endings stay as they are."""
    return {part: tokens for part, tokens in asdict(words).items() if tokens or part != "ending"}
