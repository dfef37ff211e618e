"""Whether the task was done, by the simulator's word: which cube is lifted, which is in the bin."""

import asyncio
import json
import time
from typing import Any

from tandem.drivers.sim import scene, wire
from tandem.runtime.messages import Request
from tandem.runtime.ports import Bus, Client
from tandem.tools.evaluate.truth import Outcome, sample

_PERIOD_S = 0.1
_ANSWER_TIMEOUT_S = 1.0


class SimClient:
    """Asks the simulator without making anyone wait."""

    def __init__(self, bus: Bus) -> None:
        self._client: Client = bus.client(wire.SERVER)
        self._turn = asyncio.Lock()

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer, or None when there is none in time or the simulator refuses."""
        async with self._turn:
            text = json.dumps({"do": do, **arguments})
            self._client.send(Request(verb="sim", text=text, t_ns=time.monotonic_ns(), valid=True))
            deadline_s = time.monotonic() + _ANSWER_TIMEOUT_S
            while (left_s := deadline_s - time.monotonic()) > 0:
                if (reply := self._client.poll()) is not None:
                    return reply.data if reply.ok else None
                await self._client.arrived(left_s)
        return None


def understood(instruction: str) -> tuple[str, str] | None:
    """(task, colour) of an instruction of the shipped set; None: nothing that we can judge."""
    words = instruction.lower().replace(",", " ").replace(".", " ").split()
    colours = [word for word in words if word in scene.COLOURS]
    if len(colours) != 1:
        return None
    return ("bin" if {"bin", "box"} & set(words) else "pick"), colours[0]


class Judge:
    """Follows one instruction after the other; `results` is what the report shows.

    `success` is None while an instruction is neither done nor given up.
    """

    def __init__(self, sim: SimClient) -> None:
        self.results: list[dict[str, Any]] = []
        self._sim = sim
        self._outcome: Outcome | None = None
        self._begun_s = 0.0

    @property
    def current(self) -> dict[str, Any] | None:
        return self.results[-1] if self.results else None

    def begin(self, instruction: str, instruction_id: int) -> None:
        """A new instruction; the one before it was given up if it was not done."""
        self.give_up()
        task = understood(instruction)
        self._outcome = Outcome(*task) if task else None
        self._begun_s = time.monotonic()
        self.results.append(
            {
                "instruction": instruction,
                "instruction_id": instruction_id,
                "success": None,
                "wrong_object": None,
                "seconds": None,
            }
        )

    def give_up(self) -> None:
        if self._outcome is not None:
            self._decide(False)

    async def watch(self) -> None:
        """Look at the scene ten times a second, for ever."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            outcome = self._outcome
            if outcome is None:
                continue
            answer = await self._sim.ask("truth")
            if answer is None or outcome is not self._outcome:
                continue
            outcome.see(sample(answer["t_ns"], answer, answer["q"]))
            if outcome.decided:
                self._decide(outcome.success, outcome.wrong_object)

    def _decide(self, success: bool, wrong_object: str | None = None) -> None:
        seconds = round(time.monotonic() - self._begun_s, 2)
        self.results[-1].update(success=success, wrong_object=wrong_object, seconds=seconds)
        self._outcome = None
