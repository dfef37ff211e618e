"""System 1 by its name in a configuration."""

import pytest
from tandem.policies.s1.remote import RemotePolicy
from tandem.runtime import arm_file, config
from tandem.runtime.app import build
from tandem.runtime.errors import ConfigError

SPEC = arm_file.load(config.PACKAGED / "limits" / "panda.yaml").spec


def test_a_policy_server() -> None:
    options = {"horizon": 10, "dt_ms": 66.7, "mapping": {"observation/state": "q+opening"}}
    given = config.S1(policy="openpi", host="gpu-box", port=8123, options=options)
    policy = build.s1_policy(given, SPEC)
    assert isinstance(policy, RemotePolicy)
    assert policy.spec.horizon == 10
    assert policy.spec.latent_id is None
    with pytest.raises(ConfigError, match="horizon"):
        build.s1_policy(config.S1(policy="openpi", host="gpu-box"), SPEC)
