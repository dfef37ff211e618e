"""Caches of System 2 side by side: their names on the command line, and the one table.

"none" computes everything in every frame and is what all others are measured by.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from rich.table import Table
from tandem.policies.s2.policy import STRATEGIES
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError
from tandem.tools.evaluate.records import Frames, Result, compare, percentiles

INTERVAL = "fixed_interval"
_LEVELS = ("sdvla", "none", INTERVAL)  # these refresh whole levels, the others single patches
_WORDS = {"both": ("sdvla", "none"), "all": STRATEGIES}


def named(words: Sequence[str]) -> tuple[str, ...]:
    """The caches asked for, each once; "none" joins where several are to be compared.

    Raises:
        ConfigError: a word that is no cache.
    """
    names: list[str] = []
    for word in ",".join(words).split(","):
        names += _WORDS.get(word, (word,))
    unknown = sorted(set(names) - set(STRATEGIES))
    if unknown:
        known = ", ".join((*STRATEGIES, *_WORDS))
        raise ConfigError(f"--cache {unknown[0]}: there is no such cache; there are {known}")
    if len(set(names)) > 1:
        names.append("none")
    return tuple(dict.fromkeys(names))


def with_cache(config: Config, strategy: str, max_age_frames: int | None = None) -> Config:
    """The same robot with another cache.

    Raises:
        ConfigError: it has no System 2.
    """
    given, replace = config.s2, msgspec.structs.replace
    if given is None:
        if strategy != "sdvla":
            raise ConfigError("this configuration has no s2: there is no cache to choose")
        return config
    changes = {} if max_age_frames is None else {"max_age_frames": max_age_frames}
    cache = replace(given.cache, strategy=strategy, **changes)
    return replace(config, s2=replace(given, cache=cache))


def interval_frames(gated: Result) -> int:
    """The longest interval that refreshes no less often than the gate did in these episodes.

    Every episode fills the cache anew, so the remainder of an interval is lost at its end.
    """
    lengths = [sum(f.frames for f in record.phases.values()) for record in gated.records]
    wanted = max(1, _frames(gated).refreshed[-1])
    intervals = range(max(lengths, default=1), 1, -1)
    return next((k for k in intervals if sum(n // k for n in lengths) >= wanted), 1)


def rows_anew(result: Result) -> float | None:
    """Share of the rows of L2 computed, mean over frames and layers; None: no frame was seen."""
    if result.terms.cache in _LEVELS:
        seen = _frames(result)
        return seen.refreshed[-1] / seen.frames if seen.frames else None
    scores = [r.mean_score for r in result.records if r.mean_score is not None]
    return sum(scores) / len(scores) if scores else None


def frames_to_refresh(result: Result) -> dict[str, float]:
    """Percentiles over visible changes; what was never refreshed counts with the frames it lasted.

    Empty where nothing changed, and for rules about single patches, which refresh no level.
    """
    if result.terms.cache not in _LEVELS:
        return {}
    visible = [c for record in result.records for c in record.changes if c.visible]
    return percentiles([c.frames_to_refresh or c.frames_seen + 1 for c in visible])


def _frames(result: Result) -> Frames:
    """All of a run; the frame that first fills the cache is not among them."""
    total = Frames()
    for frames in result.refreshes.values():
        total.merge(frames)
    return total


@dataclass(frozen=True)
class Row:
    """One cache on the same scenes as "none". Ratios are to none in the same run."""

    cache: str
    successes: int
    episodes: int
    ci95: tuple[float, float]
    difference_points: float
    difference_ci95: tuple[float, float]
    p_value: float
    wrong_object: int
    rows_anew: float | None
    refreshed: list[float]  # share of frames, per level
    macs_ratio: float | None
    step_p50_ms: float | None
    step_p99_ms: float | None
    step_p50_ratio: float | None
    step_p99_ratio: float | None
    pick_p50_s: float | None
    pick_p95_s: float | None
    changes_visible: int
    frames_to_refresh_p50: float | None
    frames_to_refresh_p95: float | None
    max_age_frames: int | None  # of a fixed interval


def comparable(results: Sequence[Result]) -> bool:
    """Whether these are several caches, one of them "none", and nothing else was varied."""
    names = [result.terms.cache for result in results]
    intact = all(result.terms.ablation is None for result in results)
    return intact and "none" in names and len(names) > 1


def rows(results: Sequence[Result]) -> list[Row]:
    """Of runs on the same scenes, one of them with the cache "none"."""
    none = next(result for result in results if result.terms.cache == "none")
    return [_row(result, none) for result in results]


def _row(result: Result, none: Result) -> Row:
    pair = compare(none, result)
    seen, noticed = _frames(result), frames_to_refresh(result)
    macs = None if result.cache_saved is None else 1 - result.cache_saved
    return Row(
        cache=result.terms.cache,
        successes=result.successes,
        episodes=result.episodes,
        ci95=result.ci95,
        difference_points=pair.difference_points,
        difference_ci95=pair.ci95_points,
        p_value=pair.p_value,
        wrong_object=result.wrong_object,
        rows_anew=rows_anew(result),
        refreshed=[count / max(1, seen.frames) for count in seen.refreshed],
        macs_ratio=macs,
        step_p50_ms=result.step_ms.get("p50"),
        step_p99_ms=result.step_ms.get("p99"),
        step_p50_ratio=_ratio(result, none, "p50"),
        step_p99_ratio=_ratio(result, none, "p99"),
        pick_p50_s=result.success_t_s.get("p50"),
        pick_p95_s=result.success_t_s.get("p95"),
        changes_visible=result.changes_visible,
        frames_to_refresh_p50=noticed.get("p50"),
        frames_to_refresh_p95=noticed.get("p95"),
        max_age_frames=result.terms.max_age_frames,
    )


def _ratio(result: Result, none: Result, name: str) -> float | None:
    ours, theirs = result.step_ms.get(name), none.step_ms.get(name)
    return ours / theirs if ours is not None and theirs else None


def table(results: Sequence[Result]) -> Table:
    """One line a cache."""
    terms = results[0].terms
    shown = Table(
        title=f"{terms.task}, disturb {terms.disturb}, clock {terms.clock}, seed {terms.seed}: "
        f"caches on the same {results[0].episodes} scenes",
        caption="points: success minus that of none; rows: of L2, computed anew; work and step: "
        "multiply-adds and wall clock of System 2, relative to none; s: to success, p50; noticed: "
        "frames until a visible change was refreshed, p50 / p95",
        title_justify="left",
        caption_justify="left",
    )
    shown.add_column("cache")
    columns = ["success", "95 %", "points", "rows", "work", "step p50, ms", "p99, ms", "s"]
    changing = terms.disturb != "none"
    for column in [*columns, "noticed"] if changing else columns:
        shown.add_column(column, justify="right")
    for row in rows(results):
        shown.add_row(*_cells(row), *([_noticed(row)] if changing else []))
    return shown


def _noticed(row: Row) -> str:
    if row.frames_to_refresh_p50 is None:
        return ""
    return f"{row.frames_to_refresh_p50:g} / {row.frames_to_refresh_p95:g}"


def _cells(row: Row) -> tuple[str, ...]:
    low, high = (100 * x for x in row.ci95)
    below, above = row.difference_ci95
    interval = f", every {row.max_age_frames}" if row.max_age_frames else ""
    points = (
        "" if row.cache == "none" else f"{row.difference_points:+.1f} ({below:+.0f}…{above:+.0f})"
    )
    return (
        row.cache + interval,
        f"{row.successes} of {row.episodes}",
        f"{low:.1f}…{high:.1f}",
        "" if row.cache == "none" else points,
        _number(row.rows_anew, 100, " %"),
        _number(row.macs_ratio, 100, " %"),
        _timed(row.step_p50_ms, row.step_p50_ratio),
        _timed(row.step_p99_ms, row.step_p99_ratio),
        _number(row.pick_p50_s),
    )


def _number(value: float | None, factor: float = 1, unit: str = "") -> str:
    return "" if value is None else f"{factor * value:.1f}{unit}"


def _timed(value_ms: float | None, ratio: float | None) -> str:
    return _number(value_ms) + (f" (×{ratio:.2f})" if ratio is not None else "")
