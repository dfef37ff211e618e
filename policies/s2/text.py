"""The closed language that the shipped S2 was trained on, and its tokenizer.

A closed vocabulary is refused loudly instead of being guessed at: a robot that does not know a word
must say so before it moves.
"""

import difflib
import re

import numpy as np
from tandem.runtime.errors import RefusedError

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
TASKS = ("pick", "bin")
TEXT_LENGTH = 12  # tokens, padded on the left so that the last word always sits at the same place

INSTRUCTIONS: dict[str, tuple[str, ...]] = {
    "pick": (
        "pick up the {} cube",
        "pick up the {} block",
        "pick the {} cube up",
        "lift the {} cube",
        "lift up the {} block",
        "grasp the {} block",
        "take the {} cube",
        "grab the {} block",
    ),
    "bin": (
        "put the {} cube into the bin",
        "put the {} block in the bin",
        "place the {} cube in the bin",
        "drop the {} block into the bin",
        "move the {} cube to the bin",
        "throw the {} cube into the bin",
        "pick up the {} cube and put it into the bin",
        "take the {} block and drop it in the bin",
    ),
}
# Never trained on; training reports how well these are understood.
HELD_OUT: dict[str, tuple[str, ...]] = {
    "pick": ("grab the {} cube", "lift the {} block"),
    "bin": ("place the {} block into the bin", "grab the {} cube and drop it into the bin"),
}


def _vocabulary() -> tuple[str, ...]:
    words: dict[str, None] = {}
    for templates in INSTRUCTIONS.values():
        for template in templates:
            words.update(dict.fromkeys(template.replace("{} ", "").split()))
    return ("<pad>", *COLOURS, *sorted(words))


VOCABULARY = _vocabulary()
_TOKEN = {word: token for token, word in enumerate(VOCABULARY)}
_VERBS = frozenset(t.split()[0] for ts in INSTRUCTIONS.values() for t in ts)


def examples() -> str:
    """One example a task and the colours, for messages to people."""
    shown = ", ".join(f"'{INSTRUCTIONS[task][0].format('red')}'" for task in TASKS)
    return f"it understands {shown} and paraphrases, with the colours {', '.join(COLOURS)}"


def words_of(instruction: str) -> list[str]:
    return re.findall(r"[^\s.,;:!?]+", instruction.lower())


def check(instruction: str) -> list[str]:
    """The words of an instruction that the policy can follow.

    Raises:
        RefusedError: unknown words, not one colour, no verb, or too long; says what is understood.
    """
    words = words_of(instruction)
    unknown = [word for word in words if word not in _TOKEN]
    if unknown:
        near = difflib.get_close_matches(unknown[0], VOCABULARY[1:], n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        listed = ", ".join(f"'{word}'" for word in unknown)
        raise RefusedError(f"the policy does not know {listed}{hint}; {examples()}")
    colours = sorted(set(words) & set(COLOURS))
    if len(colours) != 1:
        raise RefusedError(
            f"'{instruction}' names {len(colours)} colours, one is needed; {examples()}"
        )
    if not _VERBS & set(words):
        raise RefusedError(f"'{instruction}' does not say what to do; {examples()}")
    if len(words) > TEXT_LENGTH:
        raise RefusedError(
            f"'{instruction}' has {len(words)} words, at most {TEXT_LENGTH}; {examples()}"
        )
    return words


def encode(instruction: str) -> np.ndarray:
    """Tokens [TEXT_LENGTH] int64, padded on the left. Raises RefusedError, see `check`."""
    tokens = [_TOKEN[word] for word in check(instruction)]
    padded = np.zeros(TEXT_LENGTH, np.int64)
    padded[TEXT_LENGTH - len(tokens) :] = tokens
    return padded


def table(templates: dict[str, tuple[str, ...]] = INSTRUCTIONS) -> np.ndarray:
    """Tokens of every instruction, [task, template, colour, TEXT_LENGTH], for training."""
    return np.array(
        [[[encode(t.format(c)) for c in COLOURS] for t in templates[task]] for task in TASKS]
    )
