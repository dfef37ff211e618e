"""Ten minutes of an SO-101 in lockstep: executor, System 1, driver and bus on one virtual clock.

`python -m tests.drivers.so101_campaign --seconds 600` prints what became of every set-point. Time
is virtual: a busy computer cannot lose an answer, so whatever is missing is the driver's fault.
"""

import argparse

import numpy as np
from tandem.runtime import config
from tandem.runtime.app.motion import executor_settings
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.executor import Executor
from tandem.runtime.local_bus import LocalBus
from tandem.runtime.messages import Request
from tandem.runtime.s1 import S1Loop
from tandem.runtime.taskdesk import TaskDesk
from tandem.tools.bench.swing import Swing

from tests.drivers.test_so101_conformance import So101

_S1_NS = 5 * NS_PER_MS


class Campaign:
    """A daemon of one process, the policy engaged."""

    def __init__(self, corrupt: float) -> None:
        self.bench = So101()
        settings = config.load("so101", ["robot.arm.host=loopback"])
        arm, bus, clock = self.bench.make(), LocalBus("supervisor"), self.bench.clock
        arm.connect()
        self.arm = arm
        self.bench.wire.faults.corrupt = corrupt
        values = executor_settings(settings, arm.spec)
        named = bus.named("executor")
        self.executor = Executor(arm, named, clock, values, asleep_ns=lambda: 0)
        swing = Swing(arm.spec.joint_names)
        self.s1 = S1Loop(swing, {}, bus.named("s1"), clock, 4, _S1_NS)
        self.desk = TaskDesk(bus)
        self.moved = np.zeros(5)

    def engage(self) -> None:
        self.run(0.5)
        self.desk.set_instruction("swing", self.bench.clock.now_ns())
        self.desk.send(Request(verb="go", text="swing", t_ns=self.bench.clock.now_ns()))
        self.run(1.0)

    def run(self, seconds: float) -> int:
        """Ticks that were made."""
        ticks, end_ns = 0, self.bench.clock.now_ns() + round(seconds * NS_PER_S)
        first = self.bench.truth()
        while self.bench.clock.now_ns() < end_ns:
            self.executor.step()
            self.s1.tick(self.bench.clock.now_ns())
            self.desk.refresh(self.bench.clock.now_ns())
            ticks += 1
            self.moved = np.maximum(self.moved, abs(self.bench.truth() - first))
        return ticks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--corrupt", type=float, default=0.0, help="share of damaged answers")
    given = parser.parse_args()
    campaign = Campaign(given.corrupt)
    campaign.engage()
    before = campaign.bench.wire.counts.sync_writes, campaign.arm.counters["set_points"]
    ticks = campaign.run(given.seconds)
    counters = campaign.arm.counters
    received = campaign.bench.wire.counts.sync_writes - before[0]
    print(f"mode {campaign.executor.mode}, {ticks} ticks, moved by {campaign.moved.round(3)} rad")
    print(f"set-points handed over {counters['set_points'] - before[1]}, received {received}")
    print(", ".join(f"{name} {n}" for name, n in counters.items()))


if __name__ == "__main__":
    main()
