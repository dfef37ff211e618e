"""The simulated arm and its cell on one clock: what is followed and what physics makes of it.

`Plant` is the same for a process in real time (`plant_process.run_plant`) and for lockstep runs: it
is told the time, one physics step after the other, and never looks at a clock.
"""

from typing import Any

import numpy as np
from tandem.drivers.follow import Follower, Verdict
from tandem.drivers.sim import panda
from tandem.drivers.sim.blackbox import BlackBox
from tandem.drivers.sim.scene import Layout
from tandem.drivers.sim.world import World
from tandem.runtime.interfaces import ArmState, Knot

_BLOCKED_RAD = 0.1  # set-point and arm this far apart: something is in the way
_STILL_RAD_S = 0.01


class Plant:
    """One arm, one world, time in steps of the world's. `t_ns` is the time of the newest step."""

    def __init__(self, world: World, t_ns: int, black_box: BlackBox | None = None) -> None:
        self.world = world
        self.t_ns = t_ns
        self.step_ns = round(world.step_s * 1e9)
        self.spec = panda.panda_spec()
        self.era = 0  # how often the arm was put elsewhere by hand
        self.status = "idle"  # or reflex, user_stop: then only recover() helps
        self.error: str | None = None
        self.loop_counters: dict[str, Any] = {}
        self._follower = Follower(self.spec, world.q, t_ns)
        self._black_box = black_box

    # -- what the arm's client does ---------------------------------------------------------------

    def offer(self, knot: Knot, now_ns: int) -> Verdict:
        """Take a knot that arrived at `now_ns`."""
        return self._follower.offer(knot, now_ns)

    def brake(self) -> None:
        """Come to rest on the arm's own path; knots planned before are dropped."""
        self._follower.brake()

    def state(self) -> ArmState:
        point, world = self._follower.now, self.world
        moving = bool(np.abs(point.dq).max() > 0 or np.abs(world.dq).max() > _STILL_RAD_S)
        status = self.status if self.status != "idle" else "moving" if moving else "idle"
        return ArmState(
            t_ns=self.t_ns,
            q=world.q,
            dq=world.dq,
            tau=world.tau,
            q_d=point.q,
            dq_d=point.dq,
            ddq_d=point.ddq,
            width_m=world.width_m,
            status=status,  # type: ignore[arg-type]
            error=self.error,
            underruns=self._follower.underruns,
            coasting=self._follower.coasting,
        )

    # -- time -------------------------------------------------------------------------------------

    def step(self) -> None:
        """One physics step to `t_ns + step_ns`."""
        self.t_ns += self.step_ns
        point = self._follower.advance(self.t_ns)
        self.world.step(point.q, point.dq, point.ddq, point.gripper)
        if self._black_box is not None:
            self._black_box.add(
                self.t_ns, self.era, self._follower.coasting, point.q, point.dq, point.ddq
            )
        self._watch(point.q)

    def skip_to(self, t_ns: int) -> None:
        """Let time pass without physics, at rest: nobody needs hours of a still arm."""
        steps = (t_ns - self.t_ns) // self.step_ns
        self.t_ns += max(steps, 0) * self.step_ns
        self._follower.advance(self.t_ns)

    @property
    def standing(self) -> bool:
        """The set-point stands still and nothing is queued behind it."""
        return self._follower.standing

    def _watch(self, q_d: np.ndarray) -> None:
        apart = np.abs(self.world.data.qpos[: panda.DOF] - q_d)
        if self.status == "idle" and apart.max() > _BLOCKED_RAD:
            joint = self.spec.joint_names[int(apart.argmax())]
            self.interrupt(
                "reflex",
                f"{joint} is {apart.max():.2f} rad away from its set-point: the arm is blocked; "
                "clear the way, then reset the simulated arm",
            )

    # -- what happens to the arm and the scene ----------------------------------------------------

    def interrupt(self, status: str, error: str) -> None:
        """A reflex or a user stop: brake, then refuse every knot until it is recovered from."""
        self.status, self.error = status, error
        self._follower.brake()
        self._follower.blocked = True

    def recover(self) -> None:
        """Clear a reflex or user stop; the set-point restarts where the arm is."""
        self.status, self.error = "idle", None
        self._follower.blocked = False
        self._put(self.world.q)

    def recover_from_reflex(self) -> None:
        """What whoever commands may ask for; a user stop ends by the hand that made it."""
        if self.status == "reflex" and self.standing:
            self.recover()

    def reset(self, seed: int, cubes: int | None = None) -> Layout:
        """Set up the episode of this seed."""
        layout = self.world.reset(seed, cubes)
        self._restart(layout.q_rad)
        return layout

    def lay_out(self, layout: Layout) -> None:
        self.world.lay_out(layout)
        self._restart(layout.q_rad)

    def teleport(self, q: np.ndarray, opening: float = 1.0) -> None:
        """Put the arm at `q`, at rest."""
        self.world.place_arm(q, opening)
        self._restart(q)

    def counters(self) -> dict[str, Any]:
        """Since the start. `underruns`: streams that ended; `generation`: ArmState.underruns."""
        follower = self._follower
        return {
            "underruns": follower.starved,
            "late_knots": follower.late,
            "refused_knots": follower.refused,
            "generation": follower.underruns,
            "era": self.era,
            **self.loop_counters,
        }

    def _restart(self, q: np.ndarray) -> None:
        self.status, self.error = "idle", None
        self._follower.blocked = False
        self._put(q, self.world.width_m / panda.OPEN_WIDTH_M)

    def _put(self, q: np.ndarray, opening: float | None = None) -> None:
        self.era += 1
        opening = self._follower.now.gripper if opening is None else opening
        self._follower.restart(q, self.t_ns, opening)
