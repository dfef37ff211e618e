"""From an instruction to token numbers, by the checkpoint's tokenizer and its family's prompt."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tandem.policies.vla.families import (
    INSTRUCTION,
    NUMBERS,
    PICTURE,
    QUOTED,
    Family,
    Pieces,
    Special,
)
from tandem.policies.vla.proprio import in_bins
from tandem.runtime.errors import ConfigError, RefusedError, WeightsError
from tandem.runtime.interfaces import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer


EMPTY = -1  # no token: a row of zeros
STATE = -2  # no token: the arm's state as a row


@dataclass(frozen=True)
class Words:
    """Token numbers of a prompt with pictures left out."""

    head: list[int]  # before the first picture
    gap: list[int]  # between the pictures, all that stands there
    tail: list[int]  # after the last one
    ending: list[int] = field(default_factory=list)  # after that: EMPTY slots for actions …


class Prompter:
    """Speaks as the family does.

    pictures: how many are looked at in one prompt.

    Raises:
        ConfigError: `tokenizers` is not installed.
        WeightsError: there is no tokenizer, or it is of another model.
    """

    def __init__(self, tokenizer: Path, family: Family, pictures: int = 1) -> None:
        self._file, self._family = tokenizer, family
        self._pictures = pictures
        self._tokenizer = _load(tokenizer, family)

    def words(self, instruction: str, state: Array | None = None) -> Words:
        """state [n], normalised: of a family that is told it.

        Raises:
            RefusedError: an instruction without words.
        """
        said = instruction.strip()
        if not said:
            raise RefusedError("the instruction has no words; say what to do")
        asked = self._family
        said = said.lower() if asked.lower else said
        said = said.replace("_", " ").replace("\n", " ") if asked.plain else said
        numbers = in_bins(state) if state is not None and asked.state_words else ""
        asking = tuple(_filled(piece, said, numbers) for piece in asked.asking)
        return Words(
            self._tokens(asked.opening + _numbered(asked.before, 1)),
            self._tokens(self._between()),
            [STATE] * asked.state_row + self._tokens(asked.after + asking),
            [EMPTY] * asked.slots + self._tokens(asked.ending),
        )

    def _between(self) -> Pieces:
        """Of the first two pictures also where there is but one, as latents were named so."""
        asked, later = self._family, range(2, max(self._pictures, 2) + 1)
        each = (asked.after + _numbered(asked.before, picture) for picture in later)
        return tuple(piece for pieces in each for piece in pieces)

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


def _filled(piece: str, instruction: str, numbers: str) -> str:
    """Special pieces stay what they are, and what the instruction says is not filled in again."""
    if QUOTED in piece:
        return piece.replace(QUOTED, repr(instruction))
    if INSTRUCTION not in piece:
        return piece
    return instruction.join(part.replace(NUMBERS, numbers) for part in piece.split(INSTRUCTION))


def _numbered(pieces: Pieces, picture: int) -> Pieces:
    return tuple(p.replace(PICTURE, str(picture)) if PICTURE in p else p for p in pieces)


def _load(file: Path, family: Family) -> "Tokenizer":
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError(
            f"reading a checkpoint's tokenizer needs the library tokenizers, which is not here "
            f"({error}); install it: pip install tokenizers"
        ) from error
    if not file.is_file():
        whose = family.tokenizer or "the model that the checkpoint was trained from"
        raise WeightsError(
            f"{file} does not exist; copy the tokenizer.json of {whose} into its folder, or give "
            "its path as s2.options.tokenizer. Where there are only vocab.json and merges.txt, "
            "transformers makes it of them: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more particular
        raise WeightsError(f"{file} is no tokenizer ({error}); download it again") from error
