"""The policy at work in the simulated cell, in lockstep and without the runtime.

Fast enough to be the last stage of training. The figures that count are those of `tandem eval`,
which runs the real loops.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from tandem.drivers.sim import panda
from tandem.drivers.sim.disturb import disturb
from tandem.drivers.sim.world import World
from tandem.policies.s2.policy import SdVla
from tandem.runtime.chunks import Anchor, Grip, Past, Plan
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.interfaces import Frame, Observation, S1Policy
from tandem.runtime.messages import ActionChunk, Conditioning, RobotState
from tandem.tools.evaluate.scenario import Scenario
from tandem.tools.train.cell import Drive
from tandem.tools.train.expert import STEP_S

Array = np.ndarray
_STEP_NS = round(STEP_S * NS_PER_S)
_REST_STEPS = 6  # success must last
_HIGH_M = 0.08
_WARM_STEPS = 8  # S2 has been watching before the instruction is given
_START_NS = 10 * NS_PER_S


@dataclass(frozen=True)
class Pace:
    """When things happen, in steps of 50 ms."""

    s2_every: int = 2
    s2_delay: int = 2  # from exposure to S1
    replan: int = 2


@dataclass(frozen=True)
class Outcome:
    success: bool
    steps: int
    lifted_wrong: bool
    refreshed: Array  # [2] share of S2 frames that refreshed each level
    closest_m: float


class Pilot:
    """One S1 and one S2 in front of a world, with their delays; chunks are joined as on the
    robot.
    """

    def __init__(self, world: World, s1: S1Policy, s2: SdVla, pace: Pace) -> None:
        self.world, self.s1, self.s2, self.pace = world, s1, s2, pace

    def begin(self, instruction: str, gripper: float) -> None:
        self.s1.reset(instruction)
        self.s2.forget()
        self.s2.reset(instruction)
        self._pending: deque[tuple[int, Conditioning]] = deque()
        self.newest: Conditioning | None = None
        self._plan, self._past = Plan(panda.DOF, "crossfade"), Past(16)
        # Half the debounce of the robot, so that a clear wish is followed one step later.
        self._grip = Grip(gripper, debounce_ns=_STEP_NS)
        self.refreshed: list[list[bool]] = []
        for step in range(-_WARM_STEPS, 0, self.pace.s2_every):
            self._look(step)

    def act(self, step: int, drive: Drive) -> tuple[Array, Array, float]:
        """The command one step later: q, dq [D] and gripper."""
        if step % self.pace.s2_every == 0:
            self._look(step)
        while self._pending and self._pending[0][0] <= step:
            self.newest = self._pending.popleft()[1]
        s = step * STEP_S
        self._past.push(_time_ns(step), Anchor(s, drive.q, drive.dq))
        if step % self.pace.replan == 0:
            self._replan(step, drive)
        assert self._plan.path is not None
        ahead = self._plan.path.at(s + STEP_S)
        wish = self._plan.gripper_at(s + STEP_S)
        return ahead.q, ahead.dq, self._grip.want(wish, _time_ns(step))

    def _replan(self, step: int, drive: Drive) -> None:
        state = robot_state(drive, self.world, _time_ns(step))
        actions = self.s1.step(
            Observation(state.t_ns, state=state), self.newest, np.empty((0, panda.DOF + 1))
        )
        chunk = ActionChunk(
            actions=actions, t0_ns=state.t_ns, dt_ns=_STEP_NS, epoch=0, instruction_id=0
        )
        self._plan.offer(chunk, self._past, step * STEP_S, epoch=0, instruction_id=0)

    def _look(self, step: int) -> None:
        """S2 sees a frame; what it says arrives later."""
        image = self.world.render("front").copy()
        frames = {"front": Frame(image, _time_ns(step), step + _WARM_STEPS)}
        conditioning = self.s2.step(Observation(_time_ns(step), frames))
        self._pending.append((step + self.pace.s2_delay, conditioning))
        if step >= 0:
            self.refreshed.append(conditioning.refreshed)


def _time_ns(step: int) -> int:
    return _START_NS + step * _STEP_NS


def robot_state(drive: Drive, world: World, t_ns: int) -> RobotState:
    """What the executor would publish now."""
    zeros = np.zeros_like(drive.q)
    return RobotState(
        t_ns=t_ns,
        valid=True,
        q=world.q,
        dq=world.dq,
        tau=zeros,
        q_cmd=drive.q,
        dq_cmd=drive.dq,
        ddq_cmd=zeros,
        gripper_cmd=drive.gripper,
        width_m=world.width_m,
        mode="policy",
        epoch=0,
    )


class Prescribed:
    """The disturbance that a scenario of the evaluation draws, at its time."""

    def __init__(self, scenario: Scenario) -> None:
        self._pending = scenario.disturbance

    def act(self, world: World, step: int) -> None:
        if self._pending is None or step * STEP_S < self._pending.t_s:
            return
        disturb(world, self._pending.kind, **self._pending.arguments)
        self._pending = None


def success(world: World, scenario: Scenario) -> bool:
    if scenario.task == "pick":
        return world.lifted(scenario.target, 0.10)
    return scenario.target in world.in_bin() and world.in_hand() != scenario.target


def play(pilot: Pilot, scenario: Scenario) -> Outcome:
    """One episode of `tandem eval`: the same scene, words and disturbance."""
    world, drive = pilot.world, Drive(pilot.world)
    world.reset(scenario.seed, 4)
    drive.start(world.q)
    pilot.begin(scenario.instruction, drive.gripper)
    happens = Prescribed(scenario)
    colour, wrong, closest, rest = scenario.target, False, np.inf, _REST_STEPS
    for step in range(round(scenario.time_limit_s / STEP_S)):
        happens.act(world, step)
        drive.move(*pilot.act(step, drive))
        held = world.in_hand()
        wrong |= held not in (None, colour) and world.cube_position(held)[2] > _HIGH_M
        offset = world.cube_position(colour) - world.tool_pose()[:3, 3]
        closest = min(closest, float(np.linalg.norm(offset)))
        rest -= success(world, scenario)
        if rest <= 0:
            break
    refreshed = np.mean(pilot.refreshed, axis=0)
    return Outcome(success(world, scenario), step + 1, wrong, refreshed, closest)
