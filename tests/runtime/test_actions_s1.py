"""System 1 with a policy that speaks in tool motions: what it publishes are joint positions."""

import numpy as np
from tandem.runtime import arm_file, config, streams
from tandem.runtime.action_space import ActionSpace
from tandem.runtime.actions import named
from tandem.runtime.clock import NS_PER_MS, VirtualClock
from tandem.runtime.ik import InverseKinematics
from tandem.runtime.interfaces import Observation, S1Spec
from tandem.runtime.local_bus import LocalBus
from tandem.runtime.messages import ActionChunk, RobotState, Task
from tandem.runtime.s1 import S1Loop

PANDA = arm_file.load(config.PACKAGED / "limits" / "panda.yaml")
IK = InverseKinematics(PANDA.spec)
H, DT_NS = 8, 100 * NS_PER_MS


class Climber:
    """As OpenVLA: so many millimetres up with every step, the hand closed."""

    def __init__(self, step_m: float) -> None:
        action = named("openvla", PANDA.spec.joint_names)
        self.spec = S1Spec(action, H, DT_NS, latent_id=None, max_age_ms=1e9)
        self.step_m = step_m
        self.committed: list[np.ndarray] = []

    def reset(self, instruction: str) -> None: ...

    def step(self, obs: Observation, conditioning: None, committed: np.ndarray) -> np.ndarray:
        self.committed.append(committed)
        actions = np.zeros((H, 7))
        actions[:, 2] = self.step_m
        return actions


class Cell:
    """One S1 on a virtual clock, and the states of an arm that does what it is told."""

    def __init__(self, step_m: float) -> None:
        self.clock, hub = VirtualClock(), LocalBus("s1")
        self.policy = Climber(step_m)
        space = ActionSpace(self.policy.spec.action, PANDA.spec)
        self.loop = S1Loop(self.policy, {}, hub, self.clock, 4, space=space)
        self.states = hub.named("executor").publisher(streams.STATE)
        self.chunks = hub.subscriber(streams.CHUNK, "s1", conflate=False)
        self.events = hub.subscriber(streams.EVENT, "s1", conflate=False)
        self.tasks = hub.named("supervisor").publisher(streams.TASK)
        self.tasks.send(Task(instruction="up", instruction_id=1, epoch=1, valid=True))

    def run(self, q: np.ndarray, chunk_seq: int = -1) -> list[ActionChunk]:
        t_ns, zero = self.clock.now_ns(), np.zeros(7)
        state = RobotState(
            t_ns=t_ns,
            valid=True,
            q=q + 0.01,  # it hangs a little below its set-point
            dq=zero,
            tau=zero,
            q_cmd=q,
            dq_cmd=zero,
            ddq_cmd=zero,
            gripper_cmd=1.0,
            width_m=0.08,
            mode="policy",
            epoch=1,
            chunk_seq=chunk_seq,
        )
        self.states.send(state)
        self.loop.tick(t_ns)
        return self.chunks.poll()


def test_the_chunk_climbs_from_the_set_point():
    cell = Cell(step_m=0.01)
    (chunk,) = cell.run(PANDA.home_q)
    assert chunk.actions.shape == (H, 8)
    start = IK.pose(PANDA.home_q)
    for i, action in enumerate(chunk.actions, 1):
        climbed = IK.pose(action[:7])[:3, 3] - start[:3, 3]
        assert np.abs(climbed - (0, 0, 0.01 * i)).max() < 1e-6
        assert action[7] == 0.0


def test_what_is_committed_is_told_in_the_policys_own_numbers():
    cell = Cell(step_m=0.01)
    (chunk,) = cell.run(PANDA.home_q)
    cell.clock.sleep_until(cell.clock.now_ns() + 4 * DT_NS)
    cell.loop.predicted_delay_ns = 3 * DT_NS
    cell.run(chunk.actions[3, :7], chunk.seq)
    (nothing, told) = cell.policy.committed
    assert nothing.shape == (0, 7)
    assert len(told) == 3
    assert np.abs(told[:, 2] - 0.01).max() < 1e-6
    assert np.abs(told[:, :2]).max() < 1e-6


def test_a_plan_out_of_reach_is_cut_and_told():
    cell = Cell(step_m=0.2)
    (chunk,) = cell.run(PANDA.home_q)
    assert 1 <= len(chunk.actions) < H
    assert any("S1's plan ends early" in event.text for event in cell.events.poll())
    cell = Cell(step_m=2.0)
    assert cell.run(PANDA.home_q) == []
    assert any("the tool cannot be at" in event.text for event in cell.events.poll())
