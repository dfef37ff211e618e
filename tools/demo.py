"""The demo: one fresh scene after the other, each with an instruction, until someone stops it.

It steps aside as soon as a person gives an instruction or holds, and goes on some time after.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable

from tandem.runtime.supervisor import Supervisor
from tandem.tools.judge import Judge, SimClient

_LIMIT_S = 20.0
_SETTLE_S = 0.4  # cameras and System 2 see the new scene
_ADMIRE_S = 0.7  # a finished task stays in view
_PERSON_S = 30.0  # how long a person's own instruction is left alone
_POLL_S = 0.05
_HELD = "hold asked for"  # the executor's words

WELCOME = """
Tandem demo: a simulated Panda, its cameras, and two brains, in real time on this machine.

  stop                   Ctrl-C, or from another terminal: {tandem} stop
  hold still             {tandem} hold
  another instruction    {tandem} go "put the blue cube into the bin"
  see the pictures       make demo ARGS=--rerun     (or ARGS="--video film.mp4")
  how it is doing        {tandem} status
"""


class Demo:
    """Engages, judges, sets up the next scene."""

    def __init__(
        self,
        supervisor: Supervisor,
        sim: SimClient,
        judge: Judge,
        say: Callable[[str], None],
        seed: int = 0,
        cubes: int = 4,
    ) -> None:
        self._supervisor, self._sim, self._judge, self._say = supervisor, sim, judge, say
        self._seed, self._cubes = seed, cubes
        self._random = random.Random(seed)

    async def run(self) -> None:
        """For ever; cancelled at the end."""
        for number in itertools.count(1):
            instruction = await self._set_up(self._seed + number)
            if instruction is None:
                self._say("the simulator does not answer; trying again")
                await asyncio.sleep(1.0)
                continue
            await self._attempt(number, instruction)

    async def _set_up(self, seed: int) -> str | None:
        """A fresh scene, and what to do in it."""
        await self._supervisor.hold()
        layout = await self._sim.ask("reset", seed=seed, cubes=self._cubes)
        if layout is None:
            return None
        await asyncio.sleep(_SETTLE_S)
        if self._mode == "fault":  # a new scene takes away what blocked the arm
            reply = await self._supervisor.reset()
            self._say(f"fault reset for the new scene: {reply.text}")
        colour = self._random.choice(sorted(layout["cubes"]))
        return f"put the {colour} cube into the bin"

    async def _attempt(self, number: int, instruction: str) -> None:
        reply = await self._supervisor.go(instruction)
        if not reply.ok:
            self._say(f"scene {number}: not engaged: {reply.text}")
            await asyncio.sleep(1.0)
            return
        ours = self._supervisor.desk.instruction_id
        self._say(f"scene {number}: {instruction}")
        await asyncio.sleep(_SETTLE_S)  # until then the last hold was our own
        deadline_s = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline_s:
            await asyncio.sleep(_POLL_S)
            if self._supervisor.desk.instruction_id != ours or self._held_by_person():
                await self._leave_to_person()
                return
            result = self._judge.current
            if result is not None and result["success"] is not None:
                break
        else:
            self._judge.give_up()
        self._tell_result(number)
        await asyncio.sleep(_ADMIRE_S)

    @property
    def _mode(self) -> str:
        state = self._supervisor.state
        return state.mode if state is not None else "starting"

    def _held_by_person(self) -> bool:
        state = self._supervisor.state
        return self._mode == "hold" and state is not None and state.holding_for == _HELD

    def _tell_result(self, number: int) -> None:
        result = self._judge.current
        if result is None:
            return
        if result["success"]:
            self._say(f"scene {number}: done in {result['seconds']:.1f} s")
        elif result["wrong_object"]:
            self._say(f"scene {number}: took the {result['wrong_object']} cube instead")
        else:
            self._say(f"scene {number}: not done within {_LIMIT_S:g} s")

    async def _leave_to_person(self) -> None:
        """Until nobody has said anything new for a while."""
        self._judge.give_up()
        self._say(f"yours now; the demo goes on {_PERSON_S:g} s after your last word")
        while True:
            heard = self._supervisor.desk.instruction_id
            deadline_s = time.monotonic() + _PERSON_S
            while time.monotonic() < deadline_s and self._supervisor.desk.instruction_id == heard:
                await asyncio.sleep(_POLL_S)
            if self._supervisor.desk.instruction_id == heard:
                return
