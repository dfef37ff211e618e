"""From what is asked for to results: which runs, on which scenes, compared with what."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError
from tandem.tools.evaluate import ablate
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


def evaluate(wish: Wish, cache: str, tell: Tell) -> Report:
    """One run; two on the same scenes if `cache` is "both"."""
    report = Report()
    strategies = ("sdvla", "none") if cache == "both" else (cache,)
    results = [_run(wish, strategy, None, wish.disturb, report, tell) for strategy in strategies]
    if len(results) == 2:
        report.pairs.append(("cache none against sdvla", *results))
    return report


def take_apart(wish: Wish, tell: Tell) -> Report:
    """Every ablation against the intact policy, on the disturbance that should reveal it."""
    report = Report()
    intact: dict[str, Result] = {}
    for ablation in ablate.ABLATIONS:
        disturb = ablation.disturb
        if disturb not in intact:
            intact[disturb] = _run(wish, "sdvla", None, disturb, report, tell)
        falsified = _run(wish, "sdvla", ablation.name, disturb, report, tell)
        report.pairs.append((f"{ablation.title}, {disturb}", intact[disturb], falsified))
    return report


def _run(
    wish: Wish, strategy: str, ablation: str | None, disturb: str, report: Report, tell: Tell
) -> Result:
    config = _configured(wish.config, strategy, ablation)
    cubes = config.sim.cubes
    scenes = [scenario(wish.seed, i, wish.task, disturb, cubes) for i in range(wish.episodes)]
    told = [(scene, _said(scene, ablation, cubes)) for scene in scenes]
    terms = Terms(
        config=wish.config_name,
        task=wish.task,
        clock=wish.clock,
        cache=strategy,
        disturb=disturb,
        seed=wish.seed,
        time_limit_s=TIME_LIMIT_S[wish.task],
        ablation=ablation,
    )
    begun_s = time.monotonic()
    played = _play(wish, config, told, ablation or f"cache {strategy}, {disturb}", tell)
    result = summarise(terms, [p.episode for p in played], time.monotonic() - begun_s)
    report.results.append(result)
    report.failures += [_tile(p, ablation) for p in played if p.picture is not None]
    return result


def _configured(config: Config, strategy: str, ablation: str | None) -> Config:
    given, replace = config.s2, msgspec.structs.replace
    if given is None:
        if strategy != "sdvla" or ablation:
            raise ConfigError("this configuration has no s2: there is no cache to choose")
        return config
    cached = replace(given, cache=replace(given.cache, strategy=strategy))
    config = replace(config, s2=cached)
    return ablate.configured(config, ablation) if ablation else config


def _said(scene: Scenario, ablation: str | None, cubes: int) -> str:
    """What the policy is told; scored is always what the scenario names."""
    if ablation != "instruction":
        return scene.instruction
    return scene.instruction.replace(scene.target, other_colour(scene, cubes))


def _play(
    wish: Wish, config: Config, told: list[tuple[Scenario, str]], what: str, tell: Tell
) -> list[Played]:
    """All episodes, in order of their numbers."""
    if wish.clock == "real":
        from tandem.tools.evaluate import real

        playing = real.play_all(config, told)
    else:
        from tandem.tools.evaluate import simulated

        playing = simulated.play_all(config, told, wish.jobs)
    played: list[Played] = []
    tell(what, 0, len(told), 0)
    for one in playing:
        played.append(one)
        tell(what, len(played), len(told), sum(p.episode.success for p in played))
    return sorted(played, key=lambda p: p.episode.index)


def _tile(played: Played, ablation: str | None) -> Tile:
    episode = played.episode
    assert played.picture is not None
    why = f"took {episode.wrong_object}" if episode.wrong_object else "too late"
    if episode.error or episode.faults:
        why = episode.error or episode.faults[0]
    name = f"{ablation}: " if ablation else ""
    return Tile(played.picture, f"#{episode.index} {name}{episode.instruction} ({why})")
