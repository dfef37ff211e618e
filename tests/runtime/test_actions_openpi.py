"""A policy server whose actions are the tool's motions, by configuration alone."""

import numpy as np
import pytest
from tandem.policies.s1.mapping import Mapper
from tandem.runtime import arm_file, config
from tandem.runtime.app import build
from tandem.runtime.errors import ConfigError
from tandem.runtime.ik import InverseKinematics
from tandem.runtime.interfaces import Observation
from tandem.runtime.messages import RobotState

PANDA = arm_file.load(config.PACKAGED / "limits" / "panda.yaml")
OPTIONS = {"horizon": 5, "dt_ms": 200.0, "mapping": {"state": "tool_position+tool_rotvec+opening"}}


def policy(**options):
    given = config.S1(policy="openpi", host="gpu-box", options=OPTIONS | options)
    return build.s1_policy(given, PANDA.spec)


def test_the_action_space_is_named_in_the_configuration():
    spec = policy(action="libero").spec.action
    assert spec.kind == "tool_delta"
    assert spec.names == ("x", "y", "z", "rotvec0", "rotvec1", "rotvec2", "gripper")
    own = policy(action={"like": "libero", "frame": "tool", "gripper": {"binary": False}})
    assert own.spec.action.frame == "tool"
    assert not own.spec.action.gripper.binary
    assert policy().spec.action.kind == "joint_position"


def test_mistakes_in_it():
    with pytest.raises(ConfigError, match="did you mean libero"):
        policy(action="liberro")
    with pytest.raises(ConfigError, match="relative is a part of `action`"):
        policy(action="libero", relative=True)
    with pytest.raises(ConfigError, match="no source 'tool_position_m'"):
        policy(mapping={"state": "tool_position_m"})


def test_the_tool_is_seen_where_it_is():
    mapper = Mapper({"state": "tool_position+tool_rotvec+opening"}, 0.08, PANDA.spec)
    zero, q = np.zeros(7), PANDA.home_q + 0.1
    state = RobotState(
        q=q,
        dq=zero,
        tau=zero,
        q_cmd=q,
        dq_cmd=zero,
        ddq_cmd=zero,
        gripper_cmd=1.0,
        width_m=0.02,
        mode="hold",
        epoch=0,
    )
    seen = mapper.observation(Observation(0, {}, state), "")["state"]
    assert seen.shape == (7,)
    assert seen.dtype == np.float32
    assert seen[:3] == pytest.approx(InverseKinematics(PANDA.spec).pose(q)[:3, 3], abs=1e-6)
    assert seen[6] == pytest.approx(0.25)
