"""From what is asked for to results: which runs, on which scenes, compared with what."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tandem.runtime.config import Config
from tandem.tools.evaluate import ablate, caches
from tandem.tools.evaluate.grid import Tile
from tandem.tools.evaluate.played import Played
from tandem.tools.evaluate.records import Result, Terms, summarise
from tandem.tools.evaluate.scenario import TIME_LIMIT_S, Scenario, other_colour, scenario

Tell = Callable[[str, int, int, int], None]  # what, episodes done, of, successes
Pair = tuple[str, Result, Result]


@dataclass(frozen=True)
class Wish:
    """What the command line asked for."""

    config_name: str
    config: Config
    episodes: int
    seed: int
    task: str
    clock: str
    disturb: str
    jobs: int


@dataclass
class Report:
    """All runs, what they show when compared scene by scene, and pictures of failures."""

    results: list[Result] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    failures: list[Tile] = field(default_factory=list)


@dataclass(frozen=True)
class _Case:
    """One System 2 to be tried on the scenes of a wish."""

    strategy: str
    config: Config
    ablation: str | None = None
    max_age_frames: int | None = None


def evaluate(wish: Wish, names: Sequence[str], tell: Tell) -> Report:
    """A run for each cache, all on the same scenes.

    Where the gate is among them, a fixed interval refreshes as often as it did, not less.
    """
    report = Report()
    late = [name for name in names if name == caches.INTERVAL and "sdvla" in names]
    now = [name for name in names if name not in late]
    cases = [_Case(name, caches.with_cache(wish.config, name)) for name in now]
    found = dict(zip(now, _side_by_side(wish, cases, wish.disturb, report, tell), strict=True))
    for name in late:
        every = caches.interval_frames(found["sdvla"])
        case = _Case(name, caches.with_cache(wish.config, name, every), max_age_frames=every)
        (found[name],) = _side_by_side(wish, [case], wish.disturb, report, tell)
    report.results = [found[name] for name in names]
    if tuple(names) == ("sdvla", "none"):
        report.pairs.append(("cache none against sdvla", *report.results))
    elif len(names) > 1:
        others = [name for name in names if name != "none"]
        report.pairs += [(f"cache {o} against none", found["none"], found[o]) for o in others]
    return report


def take_apart(wish: Wish, tell: Tell) -> Report:
    """Every ablation against the intact policy, on the disturbance that was asked for.

    Where none was, on the one that should reveal it.
    """
    report = Report()
    intact: dict[str, Result] = {}
    for ablation in ablate.ABLATIONS:
        disturb = ablation.disturb if wish.disturb == "none" else wish.disturb
        if disturb not in intact:
            intact[disturb] = _run(wish, "sdvla", None, disturb, report, tell)
        falsified = _run(wish, "sdvla", ablation.name, disturb, report, tell)
        report.pairs.append((f"{ablation.title}, {disturb}", intact[disturb], falsified))
    return report


def _run(
    wish: Wish, strategy: str, ablation: str | None, disturb: str, report: Report, tell: Tell
) -> Result:
    config = caches.with_cache(wish.config, strategy)
    config = ablate.configured(config, ablation) if ablation else config
    (result,) = _side_by_side(wish, [_Case(strategy, config, ablation)], disturb, report, tell)
    report.results.append(result)
    return result


def _side_by_side(
    wish: Wish, cases: Sequence[_Case], disturb: str, report: Report, tell: Tell
) -> list[Result]:
    """Every case on the same scenes, told the same unless its instruction is falsified."""
    cubes = wish.config.sim.cubes
    scenes = [scenario(wish.seed, i, wish.task, disturb, cubes) for i in range(wish.episodes)]
    begun_s = time.monotonic()
    played = _play(wish, cases, scenes, disturb, tell)
    wall_s = time.monotonic() - begun_s
    results = []
    for case, episodes in zip(cases, played, strict=True):
        steps_ms = [step for p in episodes for step in p.step_ms]
        terms = _terms(wish, case, disturb)
        results.append(summarise(terms, [p.episode for p in episodes], wall_s, steps_ms))
        report.failures += [_tile(p, case) for p in episodes if p.picture is not None]
    return results


def _terms(wish: Wish, case: _Case, disturb: str) -> Terms:
    return Terms(
        config=wish.config_name,
        task=wish.task,
        clock=wish.clock,
        cache=case.strategy,
        disturb=disturb,
        seed=wish.seed,
        time_limit_s=TIME_LIMIT_S[wish.task],
        ablation=case.ablation,
        max_age_frames=case.max_age_frames,
    )


def _said(scene: Scenario, ablation: str | None, cubes: int) -> str:
    """What the policy is told; scored is always what the scenario names."""
    if ablation != "instruction":
        return scene.instruction
    return scene.instruction.replace(scene.target, other_colour(scene, cubes))


def _play(
    wish: Wish, cases: Sequence[_Case], scenes: list[Scenario], disturb: str, tell: Tell
) -> list[list[Played]]:
    """All episodes of each case, in order of their numbers."""
    played: list[list[Played]] = [[] for _ in cases]
    names = [case.ablation or f"cache {case.strategy}, {disturb}" for case in cases]
    for name in names:
        tell(name, 0, len(scenes), 0)
    for which, one in _each(wish, cases, scenes):
        episodes = played[which]
        episodes.append(one)
        successes = sum(p.episode.success for p in episodes)
        tell(names[which], len(episodes), len(scenes), successes)
    return [sorted(episodes, key=lambda p: p.episode.index) for episodes in played]


def _each(
    wish: Wish, cases: Sequence[_Case], scenes: list[Scenario]
) -> Iterator[tuple[int, Played]]:
    """(number of the case, episode): all cases scene by scene, or a daemon for each in turn.

    Only one at a time may have its instruction falsified: those side by side are told the same.
    """
    cubes = wish.config.sim.cubes
    told = [(scene, _said(scene, cases[0].ablation, cubes)) for scene in scenes]
    if wish.clock == "real":
        from tandem.tools.evaluate import real

        for which, case in enumerate(cases):
            yield from ((which, played) for played in real.play_all(case.config, told))
    else:
        from tandem.tools.evaluate import simulated

        yield from simulated.play_each([case.config for case in cases], told, wish.jobs)


def _tile(played: Played, case: _Case) -> Tile:
    episode = played.episode
    assert played.picture is not None
    why = f"took {episode.wrong_object}" if episode.wrong_object else "too late"
    if episode.error or episode.faults:
        why = episode.error or episode.faults[0]
    name = f"{case.ablation}: " if case.ablation else ""
    return Tile(played.picture, f"#{episode.index} {name}{episode.instruction} ({why})")
