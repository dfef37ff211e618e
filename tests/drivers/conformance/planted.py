"""Drivers with one fault each, of the kinds that real drivers have had. The suite must object."""

import time
from dataclasses import replace

import numpy as np
from tandem.drivers.fake import FakeArm
from tandem.drivers.franka.arm import FrankaArm
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import DeviceTimeoutError
from tandem.runtime.interfaces import ArmSpec, ArmState, Knot


class Degrees(FakeArm):
    def read(self, timeout_ns: int) -> ArmState:
        state = super().read(timeout_ns)
        return replace(state, q=np.degrees(state.q))


class SwappedJoints(FakeArm):
    def send(self, knot: Knot) -> None:
        order = [1, 0, 2, 3, 4, 5, 6]
        away = (knot.q - self._home_q)[order]
        rows = {"q": self._home_q + away, "dq": knot.dq[order], "ddq": knot.ddq[order]}
        super().send(replace(knot, **rows))


class StaleState(FakeArm):
    """What was true 50 ms ago, with a new stamp."""

    def connect(self) -> None:
        super().connect()
        self._old: list[ArmState] = []

    def read(self, timeout_ns: int) -> ArmState:
        state = super().read(timeout_ns)
        self._old = [*self._old[-10:], state]
        return replace(self._old[0], t_ns=state.t_ns, underruns=state.underruns)


class RepeatedState(FakeArm):
    """Every other state is the one before."""

    def connect(self) -> None:
        super().connect()
        self._before: ArmState | None = None

    def read(self, timeout_ns: int) -> ArmState:
        state = super().read(timeout_ns)
        self._before, told = (None, self._before) if self._before else (state, state)
        return told


class WrongClock(FakeArm):
    def read(self, timeout_ns: int) -> ArmState:
        state = super().read(timeout_ns)
        return replace(state, t_ns=state.t_ns + 7 * NS_PER_S)


class LateStop(FakeArm):
    """Brakes at the next tick."""

    _wished = False

    def stop(self) -> None:
        self._wished = True

    def read(self, timeout_ns: int) -> ArmState:
        state = super().read(timeout_ns)
        if self._wished:
            super().stop()
        return state


class ClipsInsteadOfBraking(FakeArm):
    def send(self, knot: Knot) -> None:
        follower = self._advance()
        refused = follower.refused
        super().send(knot)
        if follower.refused > refused:
            step = self.spec.dq_max * 0.005
            here = follower.now.q
            follower.restart(here + np.clip(knot.q - here, -step, step), self._t_ns, 1.0)


class LostFault(FakeArm):
    def read(self, timeout_ns: int) -> ArmState:
        return replace(super().read(timeout_ns), status="idle", error=None)


class NoDeadline(FakeArm):
    def read(self, timeout_ns: int) -> ArmState:
        try:
            return super().read(timeout_ns)
        except DeviceTimeoutError:
            time.sleep(0.6)
            raise


class SecondConnection(FakeArm):
    def connect(self) -> None:
        self._follower = None
        super().connect()


class SilentResume(FrankaArm):
    """Connects again, recovers and goes on, all by itself."""

    def connect(self) -> None:
        super().connect()
        visit = self._connection._visit
        self._connection._visit = lambda recover: visit(recover=True)

    def read(self, timeout_ns: int) -> ArmState:
        if self._connection.up:
            self._connection.latched = None
        return super().read(timeout_ns)


class LimitsFromATable(FrankaArm):
    def _own_limits(self) -> ArmSpec:
        return self._given


# The fault, and the law that must object to it.
ON_FAKE = {
    Degrees: "units_and_order",
    SwappedJoints: "units_and_order",
    StaleState: "fresh_states",
    RepeatedState: "stamps_on_our_clock",
    WrongClock: "stamps_on_our_clock",
    LateStop: "stop_is_braking",
    ClipsInsteadOfBraking: "a_step_is_braked",
    LostFault: "a_reflex_stays",
    NoDeadline: "silence_is_a_typed_error",
    SecondConnection: "one_connection",
}
ON_FR3 = {SilentResume: "no_silent_resume", LimitsFromATable: "limits_of_the_arm"}
