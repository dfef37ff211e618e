"""What System 2 may ask of System 1, and the words that ask System 2: a small closed language."""

import re
from dataclasses import dataclass
from typing import Literal

from tandem.runtime.errors import RefusedError

Verb = Literal["wait", "grasp", "place"]
TABLE_PLACES = 9  # a grid of taught places, row by row
BURNER = TABLE_PLACES
PLACES = TABLE_PLACES + 1
SECONDS = (3, 4, 5)
INSTRUCTION = "heat each can for {} seconds, then put it back"
_PATTERN = re.compile(r"heat each can for (\d+) seconds,? then put it back\.?")


@dataclass(frozen=True)
class SubGoal:
    """`place`: where to grasp or to put down; a wait has none."""

    verb: Verb
    place: int | None = None


WAIT = SubGoal("wait")
SUBGOALS = (
    WAIT,
    *(SubGoal("grasp", place) for place in range(PLACES)),
    *(SubGoal("place", place) for place in range(PLACES)),
)


def seconds_of(instruction: str) -> int:
    """For how long each can is to be heated.

    Raises:
        RefusedError: it is not that instruction, or not one of the times learned.
    """
    found = _PATTERN.fullmatch(instruction.strip().lower())
    if found is None or int(found[1]) not in SECONDS:
        times = ", ".join(map(str, SECONDS))
        raise RefusedError(
            f"'{instruction}' is not understood; say '{INSTRUCTION.format(SECONDS[0])}', "
            f"with {times} seconds"
        )
    return int(found[1])
