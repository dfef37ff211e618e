"""What a configuration says of a checkpoint: `s2`, `s2.cache` and `s2.options` as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tandem.policies.vla import oft
from tandem.policies.vla.families import Family
from tandem.policies.vla.proprio import KEY, StateOptions
from tandem.runtime.errors import ConfigError, RefusedError
from tandem.runtime.interfaces import ArmSpec

RULES = ("none", "fixed_interval", "vla_cache", "ttf", "lac", "dual_cache")
STRATEGIES = (*RULES, "sdvla")
_TEXT_TOKENS = 48
_NUMBER_TOKENS = 4  # three digits, one by one as Gemma's tokenizer has them, and a blank


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be refused before gigabytes are loaded, is refused here.

    Raises:
        ConfigError, RefusedError: with what to do.
    """

    weights: str  # folder with config.json, safetensors and tokenizer.json
    cameras: Sequence[str]  # in the order of the pictures in the prompt
    threads: int | None = 1  # of torch in this process, which S2 has to itself
    device: str = "auto"  # cuda where there is one, or cpu
    dtype: str = "bfloat16"  # or float32
    # Share of each picture's area, around its middle, that is looked at; 0.9 for an OpenVLA that
    # was fine-tuned with augmentation (openvla/openvla, experiments/robot/openvla_utils.py).
    crop: float = 1.0
    picture_px: int | None = None  # side of what is looked at, where a tower takes any (Qwen2.5-VL)
    # The prompt
    # The last so many tokens of it are the latent; None: one, or every number of OFT's actions.
    readouts: int | None = None
    # Most tokens after the pictures, all of which are computed, used or spare; None: 48, and what
    # the arm's state takes in words.
    text_tokens: int | None = None
    actions: Sequence[int] = ()  # OFT: [steps of a chunk, numbers of an action], if not [8, 7]
    # The arm's state, for a checkpoint that was trained with it: its parts in training's order
    # (policies/robot_state.py), or a map of `StateOptions`
    state: str | Mapping[str, Any] = ""
    proprio: str = ""  # OFT: skip leaves it out; fine-tuned parts know tokens only
    arm: ArmSpec | None = None  # whose state it is
    family: str = ""  # whose words it is asked in, where config.json does not say
    prompt: str = ""  # its own words, with {instruction}, and {state} if it was told that
    tokenizer: str = ""  # file, if not in the folder
    pictures: int | None = None  # that it was trained with, where not its family's number
    projector: str = ""  # safetensors with `weight` [D, width] and `bias` [D] of the latent
    # The cache
    strategy: str = "none"
    thresholds: Sequence[float] = (0.5, 0.5)  # per level; sdvla
    max_age_frames: int = 200  # sdvla; fixed_interval: everything anew so often
    parts: str = ""  # folder of a fine-tuned SD-VLA
    partition: str = ""  # motion: SD-VLA without training
    static: float = 0.9  # share of the patches; sdvla by motion
    lac_weights: str = ""  # LAC's networks, safetensors

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError("s2.weights is empty; give the folder of a downloaded checkpoint")
        if not self.cameras:
            raise ConfigError("s2.cameras is empty; name at least one camera")
        if self.proprio not in ("", oft.SKIP):
            raise ConfigError(
                f"s2.options.proprio {self.proprio!r} is none; {oft.SKIP}, or leave it out"
            )
        if not 0 < self.crop <= 1:
            raise ConfigError(f"s2.options.crop {self.crop:g} is no share; above 0, at most 1")
        self._check_strategy()

    @property
    def told(self) -> StateOptions | None:
        """Of the state. Raises ConfigError: not as it is written."""
        return StateOptions.of(self.state) if self.state else None

    @property
    def folder(self) -> Path:
        return Path(self.weights).expanduser()

    @property
    def tokenizer_file(self) -> Path:
        return _path(self.tokenizer) or self.folder / "tokenizer.json"

    @property
    def parts_folder(self) -> Path | None:
        return _path(self.parts)

    @property
    def projector_file(self) -> Path | None:
        return _path(self.projector)

    def fitted(self, family: Family) -> Family:
        """The family as this checkpoint was trained, in the user's words.

        Raises:
            ConfigError: it has no actions or state to be told of, or others.
            RefusedError, WeightsError: see `oft.check`.
        """
        self._check_cameras(family)
        family = self._with_actions(family.worded(self.prompt))
        if self.told and not (family.state_row or family.state_words):
            raise ConfigError(
                f"nothing takes the arm's state here: this checkpoint was trained without, or "
                f"s2.options.proprio leaves it out. Leave {KEY} out too"
            )
        if family.state_words and not self.told:
            raise RefusedError(
                f"the prompt of {self.folder} holds the arm's state in words, and no file says "
                f"what its numbers are. Say it as {KEY}: q+closing for a π0.5 of DROID, "
                "tool_position+tool_rotvec+fingers for LIBERO …; one that was trained without "
                "(openpi's pi05_libero) is asked with s2.options.family pi0"
            )
        return family

    def room_for_text(self, numbers: int) -> int:
        """Tokens, where so many numbers of the arm's state are a part of the words.

        Raises:
            ConfigError: more of it is read out than there is.
        """
        wanted = 1 if self.readouts is None else self.readouts
        tokens = self.text_tokens
        if tokens is None:
            tokens = _TEXT_TOKENS + numbers * _NUMBER_TOKENS
        if not 1 <= wanted <= tokens:
            raise ConfigError(
                f"s2.options.readouts is {wanted} and text_tokens {tokens}; at least one token is "
                "read out, and read-outs are a part of the text"
            )
        return tokens

    def _with_actions(self, family: Family) -> Family:
        if not family.slots:
            if self.actions or self.proprio:
                raise ConfigError(
                    "s2.options.actions and proprio are OpenVLA-OFT's, which this checkpoint is "
                    "not; leave them out, or say so: s2.options.family openvla_oft"
                )
            return family
        steps, numbers = self._actions()
        skips = self.proprio == oft.SKIP
        oft.check(self.folder, bool(self.told) or skips)
        oft.check_numbers(self.folder, numbers)
        if self.readouts not in (None, steps * numbers):
            raise ConfigError(
                f"s2.options.readouts is {self.readouts}, an OpenVLA-OFT is read out at all "
                f"{steps}×{numbers} numbers of its actions; leave it out. s2.options.projector "
                "makes each of them narrower"
            )
        tells = oft.has_projector(self.folder) and not skips
        return replace(family, slots=steps * numbers, state_row=tells)

    def _actions(self) -> tuple[int, int]:
        match self.actions or (8, 7):
            case [int(steps), int(numbers)] if min(steps, numbers) > 0:
                return steps, numbers
        raise ConfigError(
            f"s2.options.actions {self.actions!r} must be [steps of a chunk, numbers of an action]"
        )

    def _check_cameras(self, family: Family) -> None:
        """Raises ConfigError: this family was trained with another number of pictures."""
        wanted = self.pictures or family.pictures
        if wanted is not None and wanted != len(self.cameras):
            raise ConfigError(
                f"s2.cameras lists {len(self.cameras)} ({', '.join(self.cameras)}), this "
                f"checkpoint was trained with {wanted} picture{'s' * (wanted != 1)}; list so "
                "many, or say what your own training used as s2.options.pictures"
            )

    def _check_strategy(self) -> None:
        if self.strategy not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            raise RefusedError(f"cache strategy '{self.strategy}' is unknown; use one of {known}")
        if self.partition not in ("", "motion"):
            raise ConfigError(
                f"s2.options.partition {self.partition!r} is none; motion, or leave it out"
            )
        given = [bool(self.parts), bool(self.partition)]
        if all(given) or (any(given) and self.strategy != "sdvla"):
            raise ConfigError(
                "s2.options.parts (trained) and s2.options.partition (motion, not trained) are "
                "two kinds of SD-VLA: give one of them, with s2.cache.strategy sdvla"
            )
        if self.strategy == "sdvla" and not any(given):
            raise RefusedError(
                "the cache strategy sdvla needs parts that were trained with this checkpoint: "
                "train them (policies/caches/sdvla/recipe.py) and give their folder as "
                "s2.options.parts; or set s2.options.partition to motion, which needs no "
                "training; or take another strategy"
            )
        if self.strategy == "lac" and not self.lac_weights:
            raise ConfigError(
                "the cache strategy lac needs its two networks, trained on this backbone: give "
                "their safetensors as s2.options.lac_weights (policies/caches/lac_training.py "
                "trains them), or take another strategy"
            )


def _path(given: str) -> Path | None:
    return Path(given).expanduser() if given else None
