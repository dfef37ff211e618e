"""Which words stand around the pictures of which published model. Tables only.

A prompt is `opening, [before, picture, after] for each picture, asking, slots, ending`. What is
causal there is computed causally; a bidirectional prefix sees all of itself. What a cache keeps of
such a prefix has seen older rows than now stand beside it: only SD-VLA's blocks are exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tandem.policies.caches.vla_cache import VlaCacheRule
from tandem.policies.trunk.checkpoint import Checkpoint
from tandem.policies.vla import oft, refused
from tandem.runtime.errors import ConfigError, WeightsError


class Special(str):
    """One token of the tokenizer, by its name; never split."""


Pieces = tuple[str, ...]  # each encoded by itself
INSTRUCTION = "{instruction}"
QUOTED = "{instruction!r}"  # as Python writes a string
PICTURE = "{picture}"  # the number of a picture, from 1
NUMBERS = "{state}"  # the arm's state, in bins
_OPENVLA_CACHE = VlaCacheRule()


@dataclass(frozen=True)
class Family:
    asking: Pieces  # one piece holds INSTRUCTION or QUOTED
    opening: Pieces = ()
    before: Pieces = ()
    after: Pieces = ()
    bidirectional: bool = False
    pictures: int | None = None  # that it was trained with; None: any number
    lower: bool = False  # instructions in lower case
    plain: bool = False  # instructions without underscores and line feeds
    state_row: bool = False  # the arm's state is a row behind the pictures
    tokenizer: str = ""  # whose it has, where it is published without one
    # Empty rows for all numbers of all actions at once. Each number is read out one row before its
    # slot, as a language model reads its next token; only where a prompt sees all of itself.
    slots: int = 0
    ending: Pieces = ()
    vla_cache: VlaCacheRule = _OPENVLA_CACHE  # that its authors took for this family

    @property
    def state_words(self) -> bool:
        """The arm's state is a part of the prompt."""
        return any(NUMBERS in piece for piece in self.asking)

    def worded(self, prompt: str) -> "Family":
        """Its own words around the instruction, if there are any.

        Raises:
            ConfigError: it has no place for the instruction.
        """
        if not prompt:
            return self
        if INSTRUCTION not in prompt:
            raise ConfigError(f"s2.options.prompt {prompt!r} must hold {INSTRUCTION}")
        asking = (prompt if INSTRUCTION in p or QUOTED in p else p for p in self.asking)
        return replace(self, asking=tuple(asking))


_OPENVLA = "In: What action should the robot take to {instruction}?\nOut:"
_EMPTY = Special("▁")  # token 29871 of Llama 2
_FAKE = Special("<fake_token_around_image>")
_START, _END = Special("<|im_start|>"), Special("<|im_end|>")
_SYSTEM = (_START, "system\nYou are a helpful assistant.", _END, "\n", _START, "user\n")
_ANSWER = (_END, "\n", _START, "assistant\n")


def _eagle(instruction: str) -> Family:
    """NVIDIA/Isaac-GR00T (N1.5), model/backbone/eagle2_hg_model: chat template and processor."""
    return Family(
        (instruction, *_ANSWER),
        _SYSTEM,
        before=(f"<image {PICTURE}>", Special("<img>")),
        after=(Special("</img>"),),
        tokenizer="lerobot/eagle2hg-processor-groot-n1p5",
    )


FAMILIES: Mapping[str, Family] = {
    # openvla/openvla, README and prismatic/extern/hf/modeling_prismatic.py (predict_action adds the
    # empty token, "to match the inputs seen at training time")
    "openvla": Family((_OPENVLA, _EMPTY), (Special("<s>"),), pictures=1, lower=True),
    # microsoft/CogACT, vla/cogactvla.py: as OpenVLA, and the end token, whose hidden state is what
    # the action head is given ("cognition token")
    "cogact": Family(
        (_OPENVLA, _EMPTY, Special("</s>")), (Special("<s>"),), pictures=1, lower=True
    ),
    # moojink/openvla-oft, prismatic/extern/hf/modeling_prismatic.py: OpenVLA's prompt, 8 actions of
    # 7 numbers (LIBERO), the end token; causal masks are off in its fork of transformers.
    # VLA-Cache: siyuhsu/vla-cache, for its OFT branch
    "openvla_oft": Family(
        (_OPENVLA, _EMPTY),
        (Special("<s>"),),
        bidirectional=True,
        lower=True,
        slots=8 * 7,
        ending=(Special("</s>"),),
        vla_cache=VlaCacheRule(most_static=150, relevant=100),
    ),
    # HuggingFaceTB/SmolVLM2-500M-Video-Instruct, chat_template.json; transformers, SmolVLMProcessor
    # (one picture that is not split)
    "smolvlm": Family(
        (INSTRUCTION, Special("<end_of_utterance>"), "\nAssistant:"),
        opening=(Special("<|im_start|>"), "User:"),
        before=(_FAKE, Special("<global-img>")),
        after=(_FAKE,),
    ),
    # huggingface/lerobot, policies/smolvla/modeling_smolvla.py, embed_prefix: pictures, then the
    # instruction and a line feed, all seeing each other. The state comes last and is seen by none
    # of them, so nothing here changes without it: it is for the expert, as for any System 1
    "smolvla": Family(
        ("{instruction}\n",),
        bidirectional=True,
        tokenizer="HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
    ),
    # GR00T N1.5 by LeRobot (policies/groot/processor_groot.py), which asks str([instruction])
    "groot": _eagle(f"[{QUOTED}]"),
    # by Isaac-GR00T, which was trained on the bare instruction (gr00t/model/transforms.py). The
    # state goes to the action head, not to this model
    "gr00t_n1_5": _eagle(INSTRUCTION),
    # Qwen/Qwen2.5-VL-3B-Instruct, chat_template.json
    "qwen2_5_vl": Family(
        (INSTRUCTION, *_ANSWER),
        _SYSTEM,
        before=(Special("<|vision_start|>"),),
        after=(Special("<|vision_end|>"),),
    ),
    # transformers, PaliGemmaProcessor: pictures first, then BOS, the prompt and a line feed
    "paligemma": Family((Special("<bos>"), "{instruction}\n"), bidirectional=True),
    # Physical-Intelligence/openpi, models/tokenizer.py: the same around the instruction itself
    "pi0": Family(
        (Special("<bos>"), "{instruction}\n"),
        bidirectional=True,
        plain=True,
        tokenizer="google/paligemma-3b-pt-224",
    ),
    # The same file, and huggingface/lerobot, policies/pi05/processor_pi05.py
    "pi05": Family(
        (Special("<bos>"), "Task: {instruction}, State: {state};\nAction: "),
        bidirectional=True,
        plain=True,
        tokenizer="google/paligemma-3b-pt-224",
    ),
}
_KINDS = {name: name for name in FAMILIES} | {"idefics3": "smolvlm"}


def family_of(checkpoint: Checkpoint, named: str = "") -> Family:
    """By the name that the user gives, or else by what the checkpoint says of itself.

    Raises:
        WeightsError: nobody knows how this checkpoint is asked, or it was trained in a way that
            is not computed.
    """
    kind = named or _kind(checkpoint)
    refused.check(kind, checkpoint)
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
    if told == "openvla" and oft.has_action_head(checkpoint.folder):
        return "openvla_oft"
    return str(told or "")
