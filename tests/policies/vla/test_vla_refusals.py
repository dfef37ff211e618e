"""What a checkpoint's folder or its configuration can lack, and what is said then."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from tandem.runtime.app import build
from tandem.runtime.config import S2, Cache
from tandem.runtime.errors import ConfigError, DeviceError, RefusedError, WeightsError
from tandem.runtime.interfaces import Observation

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints
from tests.policies.vla.checkpoints import PANDA, policy, seen

IMAGE = np.zeros((checkpoints.SIDE_PX, checkpoints.SIDE_PX, 3), np.uint8)
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"strategy": "sdvla"}, RefusedError, "partition to motion"),
        ({"strategy": "sometimes"}, RefusedError, "use one of none, fixed_interval"),
        ({"strategy": "lac"}, ConfigError, "lac_weights"),
        ({"strategy": "sdvla", "partition": "motion", "static": 0.01}, ConfigError, "0 of 16"),
        ({"partition": "motion"}, ConfigError, "with s2.cache.strategy sdvla"),
        ({"partition": "colour"}, ConfigError, "'colour' is none"),
        ({"family": "gpt"}, WeightsError, "one of openvla, cogact"),
        ({"family": "paligemma", "prompt": "go"}, ConfigError, "must hold {instruction}"),
        ({"tokenizer": "/nowhere.json"}, WeightsError, "copy the tokenizer.json"),
        ({"cameras": ("front", "wrist")}, ConfigError, "trained with 1 picture;"),
        ({"cameras": ()}, ConfigError, "at least one camera"),
        ({"readouts": 40}, ConfigError, "at least one token"),
        ({"readouts": 24}, ConfigError, "it can be 1 to"),
        ({"crop": 1.5}, ConfigError, "at most 1"),
        ({"dtype": "int4"}, ConfigError, "bfloat16 or float32"),
        pytest.param({"device": "cuda"}, DeviceError, "tandem doctor", marks=NO_GPU),
        ({"device": "abacus"}, ConfigError, "cpu, cuda or auto"),
    ],
)
def test_what_cannot_be_built_says_what_to_do(
    folders: dict[str, Path], options: dict, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        policy(folders["openvla"], **options)


def test_without_the_library_the_one_command_is_told(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match="install it: pip install tokenizers"):
        policy(folders["openvla"])


def test_a_configuration_makes_it(folders: dict[str, Path]) -> None:
    given = S2(
        policy="vla",
        weights=str(folders["openvla"]),
        cameras=("front",),
        cache=Cache(strategy="fixed_interval", max_age_frames=5),
        options={"dtype": "float32", "readouts": 2, "device": "cpu"},
    )
    made = build.s2_policy(given, PANDA)
    assert made.spec.latent_id == policy(folders["openvla"], readouts=2).spec.latent_id
    with pytest.raises(ConfigError, match=r"s2\.options: .*readuots"):
        build.s2_policy(msgspec.structs.replace(given, options={"readuots": 2}), PANDA)
    with pytest.raises(ConfigError, match=r"s2\.weights is empty"):
        build.s2_policy(msgspec.structs.replace(given, weights=""), PANDA)


def test_broken_folders_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        policy(tmp_path / "nothing")
    folder = checkpoints.save("smolvlm", tmp_path / "a")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match="is no tokenizer"):
        policy(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"s2\.options\.tokenizer"):
        policy(folder)
    alien = (folders["openvla"] / "tokenizer.json").read_text().replace('"<s>"', '"<begin>"')
    (tmp_path / "t.json").write_text(alien)
    with pytest.raises(WeightsError, match="no token '<s>'"):
        policy(folders["openvla"], tokenizer=str(tmp_path / "t.json"))
    zoo.write({"x": torch.zeros(1)}, {"model_type": "llava"}, tmp_path / "b")
    with pytest.raises(WeightsError, match="'llava', for which no prompt is known"):
        policy(tmp_path / "b")


def test_instructions_and_cameras_that_do_not_fit_are_refused(folders: dict[str, Path]) -> None:
    made = policy(folders["openvla"])
    with pytest.raises(RefusedError, match=r"room for 24; say it shorter"):
        made.reset("pick up the red cube " * 6)
    with pytest.raises(RefusedError, match="no words"):
        made.reset("  ")
    with pytest.raises(DeviceError, match="needs camera 'front'"):
        made.step(Observation(0))
    made.step(seen(IMAGE))  # the question before stands
