"""Which words stand around the pictures of which published model. Tables only.

A prompt is `opening, [before, picture, after] for each picture, asking`. What is causal there is
computed causally; a bidirectional prefix sees all of itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tandem.policies.trunk.checkpoint import Checkpoint
from tandem.runtime.errors import WeightsError


class Special(str):
    """One token of the tokenizer, by its name; never split."""


Pieces = tuple[str, ...]  # each encoded by itself
INSTRUCTION = "{instruction}"


@dataclass(frozen=True)
class Family:
    asking: Pieces  # one piece holds INSTRUCTION
    opening: Pieces = ()
    before: Pieces = ()
    after: Pieces = ()
    bidirectional: bool = False
    pictures: int | None = None  # that it was trained with; None: any number
    lower: bool = False  # instructions in lower case


_OPENVLA = "In: What action should the robot take to {instruction}?\nOut:"
_EMPTY = Special("▁")  # token 29871 of Llama 2
_FAKE = Special("<fake_token_around_image>")

FAMILIES: Mapping[str, Family] = {
    # openvla/openvla, README and prismatic/extern/hf/modeling_prismatic.py (predict_action adds the
    # empty token, "to match the inputs seen at training time")
    "openvla": Family((_OPENVLA, _EMPTY), (Special("<s>"),), pictures=1, lower=True),
    # microsoft/CogACT, vla/cogactvla.py: as OpenVLA, and the end token, whose hidden state is what
    # the action head is given ("cognition token")
    "cogact": Family(
        (_OPENVLA, _EMPTY, Special("</s>")), (Special("<s>"),), pictures=1, lower=True
    ),
    # HuggingFaceTB/SmolVLM2-500M-Video-Instruct, chat_template.json; transformers, SmolVLMProcessor
    # (one picture that is not split)
    "smolvlm": Family(
        (INSTRUCTION, Special("<end_of_utterance>"), "\nAssistant:"),
        opening=(Special("<|im_start|>"), "User:"),
        before=(_FAKE, Special("<global-img>")),
        after=(_FAKE,),
    ),
    # transformers, PaliGemmaProcessor: pictures first, then BOS, the prompt and a line feed
    "paligemma": Family((Special("<bos>"), "{instruction}\n"), bidirectional=True),
    # Physical-Intelligence/openpi, models/tokenizer.py: the same around the instruction itself
    "pi0": Family((Special("<bos>"), "{instruction}\n"), bidirectional=True),
}
_KINDS = {name: name for name in FAMILIES} | {"idefics3": "smolvlm"}


def family_of(checkpoint: Checkpoint, named: str = "") -> Family:
    """By the name that the user gives, or else by what the checkpoint says of itself.

    Raises:
        WeightsError: nobody knows how this checkpoint is asked.
    """
    kind = named or _kind(checkpoint)
    if kind in _KINDS:
        return FAMILIES[_KINDS[kind]]
    whose = "s2.options.family" if named else f"{checkpoint.folder / 'config.json'}"
    raise WeightsError(
        f"{whose} says {kind or 'nothing'!r}, for which no prompt is known. If it is asked like "
        f"one of {', '.join(FAMILIES)}, give that name as s2.options.family, and its own words as "
        "s2.options.prompt"
    )


def _kind(checkpoint: Checkpoint) -> str:
    told = checkpoint.config.get("model_type") or checkpoint.config.get("type")
    if told is None and any(name.startswith("llm_backbone.llm.") for name in checkpoint):
        diffuses = any(name.startswith("action_model.") for name in checkpoint)
        return "cogact" if diffuses else "openvla"
    return str(told or "")
