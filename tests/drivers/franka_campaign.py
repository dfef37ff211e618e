"""Random plans for a minute each, on both arms, clean and with lost packets, from random starts.

`python -m tests.drivers.franka_campaign [--seconds 60]` prints one line a run; the exit status is
the number of runs in which the robot objected to anything.
"""

import argparse
import sys

import numpy as np

from tests.drivers.franka_rig import MODELS, Cell, emulator

RUNS = [(kind, share) for kind in ("fr3", "fer") for share in (0.0, 0.01, 0.05)]
LINE = (
    "{kind:4} {share:5.0%} of the packets | {seconds:.0f} s of the robot | {received} received, "
    "{lost} lost, at most {longest_loss} in a row | velocity {velocity:.2f} acceleration "
    "{acceleration:.2f} jerk {jerk:.2f} of the limits | violations {violations} | {mode}"
)


def run(kind: str, share: float, seconds: float, seed: int) -> bool:
    """True when the robot never objected and the policy still drives."""
    with emulator(kind, "--lockstep", "--seed", str(seed)) as rig:
        rng = np.random.default_rng(seed)
        start = MODELS[kind].home_q + rng.uniform(-0.3, 0.3, 7)
        rig.fault("push", q=start.tolist())
        cell = Cell(rig, seed=seed)
        cell.go()
        rig.fault("lose", share=share, burst=14)
        cell.move(seconds)
        report = rig.report()
        cell.arm.close()
    facts = {**report, **report["peaks"], "mode": cell.mode}
    print(LINE.format(kind=kind, share=share, seconds=seconds, **facts), flush=True)
    return not report["violations"] and cell.mode == "policy"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    good = [run(*what, given.seconds, given.seed + i) for i, what in enumerate(RUNS)]
    return good.count(False)


if __name__ == "__main__":
    sys.exit(main())
