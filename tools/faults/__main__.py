"""`python -m tandem.tools.faults --rounds 50`: the long, random version of the fault campaign."""

import random
import secrets
from typing import Annotated

import typer
from rich.console import Console
from tandem.tools.faults.campaign import Outcome, play
from tandem.tools.faults.catalogue import FAULTS, QUICK, Fault
from tandem.tools.faults.rig import Rig

_console = Console(highlight=False, soft_wrap=True)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How many faults, drawn at random.")] = 50,
    seed: Annotated[int | None, typer.Option(help="Draw the same again.")] = None,
    only: Annotated[str, typer.Option(help="Faults whose name contains this.")] = "",
    quick: Annotated[bool, typer.Option(help="Those of the tests, once each.")] = False,
) -> None:
    """Hurt a daemon of its own, again and again, and judge every stop."""
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    rng = random.Random(seed)
    faults = [f for f in (QUICK if quick else FAULTS) if only in f.name]
    if not faults:
        raise typer.BadParameter(f"no fault has {only!r} in its name")
    drawn = faults if quick else [rng.choice(faults) for _ in range(rounds)]
    _console.print(f"{len(drawn)} faults, seed {seed}")
    with Rig() as rig:
        outcomes = [_told(rig, fault, rng) for fault in drawn]
    raise typer.Exit(_summary(outcomes))


def _told(rig: Rig, fault: Fault, rng: random.Random) -> Outcome:
    outcome = play(rig, fault, rng)
    _console.print(outcome.line(), style="red" if outcome.problems else None)
    return outcome


def _summary(outcomes: list[Outcome]) -> int:
    """The exit status: 1 if anything was not as it must be."""
    bad = [o for o in outcomes if o.problems]
    stops = [o.stop for o in outcomes if o.stop is not None]
    fast = sum(s.fastest_rad_s > 0.2 for s in stops)
    jerk = max((s.extremes.jerk_share for s in stops), default=0.0)
    acceleration = max((s.extremes.acceleration_share for s in stops), default=0.0)
    _console.print(
        f"{len(outcomes)} faults, {len(bad)} not good; {fast} of {len(stops)} judged stops began "
        f"above 0.2 rad/s; largest share of the arm's acceleration {acceleration:.2f}, "
        f"jerk {jerk:.2f}"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    typer.run(main)
