"""`python -m tandem.tools.faults.hands`: the operator's campaigns against a daemon of its own.

Real processes, the simulator, keys at a pseudo-terminal; judged by the plant's own record.
"""

import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer
from tandem.runtime.errors import TandemError
from tandem.tools.bench import output
from tandem.tools.bench.bars import Bar
from tandem.tools.faults import inject
from tandem.tools.faults.hands import bars, cut, handover, minds
from tandem.tools.faults.hands.cut import Cut, Kind
from tandem.tools.faults.hands.far import FarHand, Wire
from tandem.tools.faults.hands.handover import HandOver
from tandem.tools.faults.hands.minds import Loss
from tandem.tools.faults.hands.terminal import Hand
from tandem.tools.faults.rig import Rig

_LOSSES_PER_DAEMON = 4  # a supervisor waits ever longer before it starts again who keeps dying
_KINDS: tuple[Kind, ...] = ("kill", "stop", "net")

Count = Annotated[int, typer.Option(min=0)]
Tell = Callable[[str], None]


def main(
    handovers: Count = 0,
    cuts: Annotated[int, typer.Option(min=0, help="Of each of kill, stop, net.")] = 0,
    losses: Annotated[int, typer.Option(min=0, help="Of both systems at once.")] = 0,
    kinds: Annotated[str, typer.Option(metavar="A,B", help="Of kill, stop, net.")] = "",
    seed: Annotated[int | None, typer.Option(help="Draw the same again.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the figures.")] = None,
) -> None:
    """Hand over, cut the link, kill both systems, as often as asked; exit status 1 if once bad."""
    chosen = _chosen(kinds)
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    rng, tell = random.Random(seed), partial(print, flush=True)
    tell(f"seed {seed}")
    body: dict[str, list[Any]] = {}
    held: list[Bar] = []
    if handovers:
        body["handover"], link_ms = _hand_overs(handovers, rng, tell)
        held += bars.hand_overs(body["handover"], handovers, link_ms)
        tell(f"link, p50: {link_ms:.2f} ms")
    if cuts:
        body["cut"] = _cuts(cuts, chosen, rng, tell)
        held += bars.cuts(body["cut"], cuts)
        for line in bars.summary(body["cut"]):
            tell(line)
    if losses:
        body["minds"] = _losses(losses, rng, tell)
        held += bars.losses(body["minds"], losses)
    rounds = {name: [asdict(played) for played in each] for name, each in body.items()}
    count = sum(map(len, rounds.values()))
    result = output.document("hands", count, {"seed": seed, **rounds}, held)
    output.write(result, json)
    output.console(json).print(output.bar_table(held))
    raise typer.Exit(0 if result["met"] else 1)


def _chosen(kinds: str) -> tuple[Kind, ...]:
    wanted = [word for word in kinds.split(",") if word]
    if strange := set(wanted) - set(_KINDS):
        raise typer.BadParameter(f"{', '.join(strange)}: choose of {', '.join(_KINDS)}")
    return tuple(kind for kind in _KINDS if kind in wanted or not wanted)


# -- the campaigns ---------------------------------------------------------------------------------


def _hand_overs(count: int, rng: random.Random, tell: Tell) -> tuple[list[HandOver], float]:
    """And what the operator's messages took to come, as a rule, ms."""
    with ExitStack() as stack:
        rig = stack.enter_context(handover.alone())
        hand = _seated(rig, Hand(rig.base, *handover.OPTIONS), stack)
        place = handover.HandOvers(rig, hand)
        stack.callback(place.ear.close)
        played = list(_told("hand-over", count, tell, lambda: place.play(rng)))
        return played, float(np.median(place.ear.links_ms))


def _cuts(count: int, kinds: Sequence[Kind], rng: random.Random, tell: Tell) -> list[Cut]:
    found: list[Cut] = []
    with handover.alone() as rig:
        for kind in kinds:
            found += _cuts_by[kind](rig, count, rng, tell)
    return found


def _killed(rig: Rig, count: int, rng: random.Random, tell: Tell) -> list[Cut]:
    """Each needs a new operator."""

    def play() -> Cut:
        with ExitStack() as stack:
            hand = _seated(rig, Hand(rig.base, *cut.OPTIONS), stack)
            return cut.play(rig, hand, "kill", lambda: inject.kill(hand.process.pid), rng)

    return list(_told("link cut", count, tell, play))


def _frozen(rig: Rig, count: int, rng: random.Random, tell: Tell) -> list[Cut]:
    with ExitStack() as stack:
        hand = _seated(rig, Hand(rig.base, *cut.OPTIONS), stack)

        def play() -> Cut:
            freeze = partial(os.kill, hand.process.pid, signal.SIGSTOP)
            played = cut.play(rig, hand, "stop", freeze, rng)
            os.kill(hand.process.pid, signal.SIGCONT)
            return _let_go(rig, hand, played)

        return list(_told("link cut", count, tell, play))


def _unplugged(rig: Rig, count: int, rng: random.Random, tell: Tell) -> list[Cut]:
    with ExitStack() as stack:
        wire = stack.enter_context(Wire())
        hand = _seated(rig, FarHand(wire, rig.base, *cut.OPTIONS), stack)

        def play() -> Cut:
            try:
                played = cut.play(rig, hand, "net", wire.cut, rng)
            finally:
                wire.mend()
            return _let_go(rig, hand, played)

        return list(_told("link cut", count, tell, play))


_cuts_by = {"kill": _killed, "stop": _frozen, "net": _unplugged}


def _losses(count: int, rng: random.Random, tell: Tell) -> list[Loss]:
    found: list[Loss] = []
    while len(found) < count:
        begun = len(found)
        with ExitStack() as stack:
            rig = stack.enter_context(Rig())
            hand = _seated(rig, Hand(rig.base, *minds.OPTIONS), stack)
            left = min(_LOSSES_PER_DAEMON, count - begun)
            play = partial(minds.play, rig, hand, rng)
            found += _told("minds killed", left, tell, play, begun)
        if len(found) == begun:
            break
    return found


def _seated(rig: Rig, hand: Hand, stack: ExitStack) -> Hand:
    """At the terminal, with the lease."""
    stack.callback(hand.close)
    hand.until_sees("· keyboard")
    rig.until(lambda: _lease(rig).endswith(f"/{hand.process.pid}"), 8.0, "given the lease")
    return hand


def _lease(rig: Rig) -> str:
    rig.poll()
    return (rig.state.operator if rig.state else None) or ""


def _let_go(rig: Rig, hand: Hand, played: Cut) -> Cut:
    """No key is pressed any more, and everybody has understood that."""
    hand.up(*"wsadrfouikjlnm")
    rig.watch(0.3)
    return played


def _told(
    what: str, count: int, tell: Tell, play: Callable[[], Any], begun: int = 0
) -> Iterator[Any]:
    for number in range(count):
        at = time.strftime("%H:%M:%S")
        try:
            played = play()
        except TandemError as error:  # what is missing counts as not good
            tell(f"{at} {what} {begun + number + 1:3}: could not be played: {error}")
            return
        tell(f"{at} {what} {begun + number + 1:3}: {played.line()}")
        yield played


if __name__ == "__main__":
    typer.run(main)
