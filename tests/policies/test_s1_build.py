"""System 1 by its name in a configuration."""

from pathlib import Path

import pytest
import torch
from tandem.policies.s1.flow import FlowHead
from tandem.policies.s1.flow_policy import FlowPolicy
from tandem.policies.s1.network import HeadConfig
from tandem.policies.s1.remote import RemotePolicy
from tandem.runtime import arm_file, config
from tandem.runtime.app import build
from tandem.runtime.errors import ConfigError
from tandem.tools.train.s1 import tool_layer
from tandem.tools.train.shipping import ship

SPEC = arm_file.load(config.PACKAGED / "limits" / "panda.yaml").spec


def test_a_flow_policy(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = FlowHead(HeadConfig(latent=8, width=64, blocks=1), tool_layer())
    ship(head, tmp_path / "flow", "0" * 16, (2, 4), {})
    given = config.S1(
        policy="chunk_flow", weights=str(tmp_path / "flow"), options={"mode": "identity"}
    )
    policy = build.s1_policy(given, SPEC)
    assert isinstance(policy, FlowPolicy)
    assert policy.sampler.mode == "identity"
    assert policy.spec.action.names == (*SPEC.joint_names, "gripper")


def test_a_policy_server() -> None:
    options = {"horizon": 10, "dt_ms": 66.7, "mapping": {"observation/state": "q+opening"}}
    given = config.S1(policy="openpi", host="gpu-box", port=8123, options=options)
    policy = build.s1_policy(given, SPEC)
    assert isinstance(policy, RemotePolicy)
    assert policy.spec.horizon == 10
    assert policy.spec.latent_id is None
    with pytest.raises(ConfigError, match="horizon"):
        build.s1_policy(config.S1(policy="openpi", host="gpu-box"), SPEC)
