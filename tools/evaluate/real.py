"""Episodes in real time: a daemon as `tandem run` starts it, real processes over real sockets.

Between two episodes the arm holds while the simulator lays out the next scene and puts the arm at
its start; caches, statistics and everything else of the daemon live on, as they do on a robot.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from tandem.drivers.sim import wire
from tandem.runtime import streams
from tandem.runtime.app import build
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import NS_PER_S, MonotonicClock
from tandem.runtime.config import Config
from tandem.runtime.errors import DeviceTimeoutError, RefusedError, TandemError
from tandem.runtime.images import ImageRing
from tandem.runtime.messages import Request
from tandem.runtime.telemetry import Collector
from tandem.tools.evaluate.attempt import Attempt, Counted
from tandem.tools.evaluate.plant import Extremes, plant_spec, recorded
from tandem.tools.evaluate.played import Played
from tandem.tools.evaluate.scenario import Scenario
from tandem.tools.evaluate.truth import Truth, sample
from tandem.tools.evaluate.visibility import Eye
from tandem.tools.faults.rig import Rig

_LOOK_S = 0.02
_ANSWER_S = 10.0
_REST_TIMEOUT_S = 5.0
_BACK_TIMEOUT_S = 60.0
_LEAD_IN_S = 0.4  # the cameras show the new scene
_LAST_WORDS_S = 0.15  # what System 2 still says of the last frames


class Simulator:
    """Asks the simulator's process, over one line that stays open."""

    def __init__(self, bus: ZmqBus) -> None:
        self._client = bus.client(wire.SERVER)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """
        Raises:
            RefusedError: the simulator will not; the message is its reason.
            DeviceTimeoutError: it does not answer.
        """
        text, deadline_s = json.dumps({"do": do, **arguments}), time.monotonic() + _ANSWER_S
        while True:
            self._client.send(Request(verb="sim", text=text))
            while (reply := self._client.poll()) is None:
                if time.monotonic() > deadline_s:
                    raise DeviceTimeoutError(f"the simulator did not answer within {_ANSWER_S:g} s")
                time.sleep(0.001)
            if reply.ok:
                return reply.data
            if "ask again" not in reply.text:  # it is starved, and heard us too late
                raise RefusedError(reply.text)

    def truth(self) -> Truth:
        answer = self.ask("truth")
        return sample(answer["t_ns"], answer, np.asarray(answer["q"]))


class Theatre:
    """One daemon, and everything that watches it."""

    def __init__(self, config: Config, rig: Rig) -> None:
        self._config, self._rig = config, rig
        self._bus = ZmqBus(rig.folder, "evaluation")
        self._simulator = Simulator(self._bus)
        self._said = self._bus.subscriber(streams.CONDITIONING, "s2", conflate=False)
        self._collector = Collector(self._bus, MonotonicClock())
        self._spec = plant_spec(config)
        self._eye = Eye(config.s2.cameras if config.s2 else ())
        camera = next(iter(config.cameras.items()), None)
        spec = build.camera_spec(*camera) if camera else None
        self._pictures = ImageRing.of(rig.folder, spec).reader() if spec else None

    def close(self) -> None:
        self._eye.close()
        self._bus.close()

    def play(self, scenario: Scenario, said: str) -> Played:
        """Play one episode; the policy is told `said`, scored is what the scenario names."""
        self._set(scenario)
        begin_ns, counted = time.monotonic_ns(), Counted(self._collector.poll())
        underruns = self._underruns()
        attempt = Attempt(scenario, begin_ns, self._eye.look)
        error = None
        try:
            self._rig.go(said)
            attempt = Attempt(scenario, time.monotonic_ns(), self._eye.look)
            self._drive(attempt)
        except TandemError as refusal:
            error = str(refusal)
        picture = self._picture()
        self._rig.hold()
        self._wait_for_last_words(attempt)
        episode = attempt.record(self._extremes(begin_ns))
        counted.fill(episode, self._collector.poll(), self._underruns() - underruns)
        episode.error = error
        return Played(episode, None if episode.success else picture, attempt.step_ms)

    def _set(self, scenario: Scenario) -> None:
        """The next scene, with the arm at its start, holding."""
        rig = self._rig
        rig.until(rig.is_ready, _BACK_TIMEOUT_S, "ready again")
        rig.hold()
        rig.until(lambda: rig.mode() in ("hold", "idle", "fault"), _REST_TIMEOUT_S, "at rest")
        if rig.mode() != "hold":
            rig.until(self._is_reset, _REST_TIMEOUT_S, "reset")
            rig.until(lambda: rig.mode() == "hold", _REST_TIMEOUT_S, "in hold")
        self._simulator.ask("reset", seed=scenario.seed, cubes=self._config.sim.cubes)
        rig.watch(_LEAD_IN_S)
        self._said.poll()  # of the scene before

    def _is_reset(self) -> bool:
        """Refused, and tried again, while a blocked arm still brakes."""
        self._rig.reset()
        return True

    def _drive(self, attempt: Attempt) -> None:
        """From `go` until success, a wrong object or the time limit."""
        scenario, begin_ns = attempt.scenario, time.monotonic_ns()
        pending, limit_ns = scenario.disturbance, round(scenario.time_limit_s * NS_PER_S)
        while not attempt.decided:
            now_ns = time.monotonic_ns() - begin_ns
            if now_ns >= limit_ns:
                return
            if pending is not None and now_ns >= pending.t_s * NS_PER_S:
                self._simulator.ask("disturb", kind=pending.kind, **pending.arguments)
                pending = None
            self._look(attempt)
            time.sleep(_LOOK_S)

    def _look(self, attempt: Attempt) -> None:
        attempt.see(self._simulator.truth())
        for said in self._said.poll():
            attempt.understand(said)
        self._collector.poll()
        self._rig.poll()
        state = self._rig.state
        if state is not None and state.fault:
            attempt.complain(state.fault)
        if state is not None and state.mode != "policy":
            ticks = round(_LOOK_S * self._config.executor.rate_hz)
            attempt.left_policy(state.holding_for or state.mode, ticks)

    def _wait_for_last_words(self, attempt: Attempt) -> None:
        time.sleep(_LAST_WORDS_S)
        for said in self._said.poll():
            attempt.understand(said)

    def _underruns(self) -> int:
        return int(self._simulator.ask("counters")["underruns"])

    def _extremes(self, begin_ns: int) -> Extremes | None:
        try:
            return recorded(self._rig.record().between(begin_ns, 1 << 62), self._spec)
        except (TandemError, ValueError):
            return None

    def _picture(self) -> np.ndarray | None:
        frame = self._pictures.latest() if self._pictures else None
        return frame.image if frame else None


def play_all(config: Config, scenarios: list[tuple[Scenario, str]]) -> Iterator[Played]:
    """Every episode in turn, on one daemon."""
    with Rig(msgspec.to_builtins(config)) as rig:
        theatre = Theatre(config, rig)
        try:
            for scenario, said in scenarios:
                yield theatre.play(scenario, said)
        finally:
            theatre.close()
