"""The waterfall from camera to command, and what both systems are at."""

from tandem.tools.console import ink
from tandem.tools.console.bands import judge
from tandem.tools.console.figures import (
    Cache,
    Chunks,
    Conditioning,
    Gpu,
    Latency,
    Machine,
    Snapshot,
    Stage,
)
from tandem.tools.console.ink import Line

_NAME = 16
_WIDE = 80


def latency(snapshot: Snapshot, width: int, height: int) -> list[Line]:
    """Stages one below the other, each where it begins; System 2's own below its stage."""
    way = snapshot.latency
    quantiles = ("p50", "p99", "max") if width < _WIDE else ("mean", "p50", "p99", "p99.9", "max")
    size = 5 if width < _WIDE else 7
    room = width - _NAME - size * len(quantiles)
    title = "camera to command, last 10 s" if width >= _WIDE else "camera to command"
    column = width - size * len(quantiles)
    ends = [(column + size * (i + 1) - len(q), q) for i, q in enumerate(quantiles)]
    lines = [ink.rule(title, width, *ends)]
    if not way.stages:
        none = ink.fit([("  no command of a plan yet", "dim")], width)
        return [*lines, none, *_parts_only(way, width)]
    whole = way.total.window
    scale_ms = max(s.begin_ms + s.mean_ms for s in way.stages) or 1.0
    for stage in way.stages:
        lines.append(_stage_line(stage, scale_ms, room, quantiles, size, "graph"))
        if stage.name.endswith("S2") and height >= len(way.stages) + len(way.parts) + 4:
            lines += [
                _stage_line(p, scale_ms, room, quantiles, size, "graph-dim") for p in way.parts
            ]
    share = whole.p99_ms / way.budget_ms if whole else 0.0
    lines.append(
        [
            (" in all".ljust(_NAME), way.health),
            (ink.bar(0, share, room - 1) + "▏", way.health if whole else "dim"),
            *_figures(Stage("", 0, scale_ms, way.total), quantiles, size),
        ]
    )
    lines.append([(f" p99 is {share:.0%} of the budget of {way.budget_ms:g} ms", "dim")])
    return [ink.fit(line, width) for line in lines]


def _parts_only(way: Latency, width: int) -> list[Line]:
    if not way.parts:
        return []
    words = " · ".join(f"{p.name} {ink.time4(p.mean_ms)}" for p in way.parts)
    return [ink.fit([(f"  System 2: {words}", "dim")], width)]


def _stage_line(
    stage: Stage, scale_ms: float, room: int, quantiles: tuple[str, ...], size: int, style: str
) -> Line:
    begin, end = stage.begin_ms / scale_ms, (stage.begin_ms + stage.mean_ms) / scale_ms
    indent = "   " if style == "graph-dim" else " "
    name = f"{indent}{stage.name}"[: _NAME - 1].ljust(_NAME)
    drawn = (ink.bar(begin, end, room), style)
    return [(name, "dim" if style == "graph-dim" else ""), drawn, *_figures(stage, quantiles, size)]


def _figures(stage: Stage, quantiles: tuple[str, ...], size: int) -> Line:
    timing, line = stage.timing, []
    fields = {"p50": "p50_ms", "p99": "p99_ms", "p99.9": "p999_ms", "max": "max_ms"}
    for name in quantiles:
        value: float | None = stage.mean_ms
        if name != "mean":
            value = getattr(timing.window, fields[name]) if timing.window else None
        health = judge(value or 0.0, timing.limit_ms, timing.warn_ms)
        line.append((f"{ink.time4(value):>{size}}", "" if health == "ok" else health))
    return line


def minds(snapshot: Snapshot, width: int, height: int) -> list[Line]:
    """Conditioning, cache, chunks, seams and the machine, most urgent first."""
    lines = [ink.rule("understanding, chunks, machine", width)]
    lines += _conditioning(snapshot.conditioning, width)
    if snapshot.conditioning is not None:
        lines += _cache(snapshot.cache, roomy=height >= 12)
    lines += _chunks(snapshot.chunks, roomy=height >= 12)
    lines += _machine(snapshot.machine)
    return [ink.fit(line, width) for line in lines[:height]]


def _conditioning(said: Conditioning | None, width: int) -> list[Line]:
    if said is None:
        return [[(" no conditioning heard", "dim")]]
    room = max(width - 21, 4)
    share = said.age_ms / said.hold_ms
    slow = min(int(said.slow_ms / said.hold_ms * room), room - 1)
    drawn = ink.bar(0, share, room)
    if drawn[slow] == " ":
        drawn = f"{drawn[:slow]}┊{drawn[slow + 1 :]}"
    style = "graph" if said.health == "ok" else said.health
    age = judge(said.age_ms, said.hold_ms, said.slow_ms)
    acted = ink.time4(said.acted_on_ms)
    return [
        [(" conditioning ", ""), (f"{ink.time4(said.age_ms):>5} ", age), (drawn + "▏", style)],
        [
            (f"  acted on {acted}", said.health if said.health != "ok" else ""),
            (f", peak {ink.time4(said.peak_ms)}, {said.rate_hz:.1f} Hz", "dim"),
        ],
    ]


def _cache(cache: Cache, roomy: bool) -> list[Line]:
    if not cache.levels:
        return []
    gates: Line = [(" gate", "")]
    for number, level in enumerate(cache.levels, 1):
        hot = level.threshold is not None and level.gate >= level.threshold
        limit = f"/{level.threshold:g}".replace("0.", ".") if level.threshold is not None else ""
        gates.append((f"  L{number} {level.gate:.2f}{limit}", "accent" if hot else ""))
    counts = " ".join(f"L{n} {level.refreshes}" for n, level in enumerate(cache.levels, 1))
    saved = f"saved {ink.percent(cache.macs_saved_in_window)}"
    lines = [gates, [(f" fresh {counts} of {cache.frames}, ", ""), (saved, "accent")]]
    if roomy:
        ages = ", ".join(f"L{n} {v.age_frames}" for n, v in enumerate(cache.levels, 1))
        lines.append([(f"  frames since refresh: {ages}", "dim")])
        whole = ink.percent(cache.macs_saved)
        lines.append([(f"  multiply-adds saved since attach: {whole}", "dim")])
    return lines


def _chunks(chunks: Chunks, roomy: bool) -> list[Line]:
    if not chunks.counts:
        return [[(" no chunks counted", "dim")]]
    n = chunks.counts.get
    bad = n("dead", 0) + n("malformed", 0)
    lines: list[Line] = [
        [
            (f" chunks {n('joined', 0)}, late {n('late', 0)}, ", ""),
            (f"dead {bad}", "warn" if bad else ""),
        ]
    ]
    q, dq = chunks.seams.get("sent_q_rad", 0.0), chunks.seams.get("sent_dq_rad_s", 0.0)
    lines.append([(f" seam {q * 1e3:.2g} mrad, {dq:.2g} rad/s", "")])
    if roomy:
        sent, raw = ((chunks.seams.get(f"{k}_ddq_rad_s2", 0.0)) for k in ("sent", "raw"))
        q, dq = chunks.seams.get("raw_q_rad", 0.0), chunks.seams.get("raw_dq_rad_s", 0.0)
        lines[-1].append((f", {sent:.2g} rad/s² (largest commanded)", ""))
        lines.append(
            [(f"  as planned: {q * 1e3:.2g} mrad, {dq:.2g} rad/s, {raw:.2g} rad/s²", "dim")]
        )
        of_others = f"  of another epoch {n('foreign', 0)}"
        horizon = f", horizon {chunks.horizon} × {chunks.dt_ms:g} ms" if chunks.horizon else ""
        lines.append([(of_others + horizon, "dim")])
    return lines


def _machine(machine: Machine) -> list[Line]:
    memory = f"{machine.memory_mib / 1024:.1f}/{machine.memory_total_mib / 1024:.0f}G"
    busy = machine.cpu is not None and machine.cpu > 0.95
    cpu = f" cpu {ink.percent(machine.cpu)} of {machine.cores}"
    lines: list[Line] = [[(cpu, "warn" if busy else ""), (f", memory {memory}", "")]]
    return lines + [[(_gpu(card), "")] for card in machine.gpus]


def _gpu(card: Gpu) -> str:
    memory = f"{card.memory_mib / 1024:.1f}/{card.memory_total_mib / 1024:.0f}G"
    return f" gpu {card.busy:.0%}, {memory} {card.name}"
