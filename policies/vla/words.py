"""From an instruction to token numbers, by the checkpoint's tokenizer and its family's prompt."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tandem.policies.vla.families import INSTRUCTION, Family, Pieces, Special
from tandem.runtime.errors import ConfigError, RefusedError, WeightsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Words:
    """Token numbers of a prompt with pictures left out."""

    head: list[int]  # before the first picture
    gap: list[int]  # between two pictures
    tail: list[int]  # after the last one


class Prompter:
    """Speaks as the family does. `prompt`, if given, replaces the words around the instruction.

    Raises:
        ConfigError: the prompt has no place for the instruction, or `tokenizers` is not installed.
        WeightsError: there is no tokenizer, or it is of another model.
    """

    def __init__(self, tokenizer: Path, family: Family, prompt: str = "") -> None:
        self._file, self._family = tokenizer, _with_prompt(family, prompt)
        self._tokenizer = _load(tokenizer)

    def words(self, instruction: str) -> Words:
        """Raises RefusedError for an instruction without words."""
        said = instruction.strip()
        if not said:
            raise RefusedError("the instruction has no words; say what to do")
        asked = self._family
        said = said.lower() if asked.lower else said
        asking = tuple(_filled(piece, said) for piece in asked.asking)
        return Words(
            self._tokens(asked.opening + asked.before),
            self._tokens(asked.after + asked.before),
            self._tokens(asked.after + asking),
        )

    def _tokens(self, pieces: Pieces) -> list[int]:
        return [token for piece in pieces for token in self._piece(piece)]

    def _piece(self, piece: str) -> list[int]:
        if not isinstance(piece, Special):
            return self._tokenizer.encode(piece, add_special_tokens=False).ids
        token = self._tokenizer.token_to_id(piece)
        if token is None:
            raise WeightsError(
                f"{self._file} has no token {str(piece)!r}, which this family's prompt needs; take "
                "the tokenizer of the same model, or name another s2.options.family"
            )
        return [token]


def _with_prompt(family: Family, prompt: str) -> Family:
    if not prompt:
        return family
    if INSTRUCTION not in prompt:
        raise ConfigError(f"s2.options.prompt {prompt!r} must hold {INSTRUCTION}")
    return replace(family, asking=tuple(_put(piece, prompt) for piece in family.asking))


def _put(piece: str, prompt: str) -> str:
    return prompt if INSTRUCTION in piece else piece


def _filled(piece: str, instruction: str) -> str:
    return piece.replace(INSTRUCTION, instruction) if INSTRUCTION in piece else piece


def _load(file: Path) -> "Tokenizer":
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError(
            f"reading a checkpoint's tokenizer needs the library tokenizers, which is not here "
            f"({error}); install it: pip install tokenizers"
        ) from error
    if not file.is_file():
        raise WeightsError(
            f"{file} does not exist; copy the tokenizer.json of the model that the checkpoint was "
            "trained from into its folder, or give its path as s2.options.tokenizer"
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more particular
        raise WeightsError(f"{file} is no tokenizer ({error}); download it again") from error
