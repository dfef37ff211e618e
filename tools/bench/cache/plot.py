"""The table of caches as an SVG: time and multiply-adds relative to none, stage by stage."""

from typing import Any
from xml.sax.saxutils import escape

from tandem.policies.caches.stages import STAGES

_COLOURS = dict(zip(STAGES, ("#d1495b", "#66a182", "#9bb8a6", "#2e4057", "#8d96a3"), strict=True))
_LEFT, _WIDTH, _ROW, _BAR, _TOP = 136, 560, 46, 14, 54


def svg(result: dict[str, Any]) -> str:
    """Two bars a cache: what it takes (above) and what it computes (below, paler); 1 is none."""
    caches = result["caches"]
    none = caches["none"]
    whole_ms, whole_macs = (sum(none[key].values()) for key in ("stages_ms", "stages_macs"))
    ratios = [
        sum(found[key].values()) / whole
        for found in caches.values()
        for key, whole in (("stages_ms", whole_ms), ("stages_macs", whole_macs))
    ]
    scale = _WIDTH / max(1.1, *ratios)
    height = _TOP + _ROW * len(caches) + 34
    parts = [_title(result), *_legend(), *_grid(scale, height)]
    for i, (name, found) in enumerate(caches.items()):
        y = _TOP + i * _ROW
        parts.append(_text(_LEFT - 8, y + _BAR + 5, name, "end", 13))
        parts += _bar(found["stages_ms"], whole_ms, scale, y, 1.0)
        parts += _bar(found["stages_macs"], whole_macs, scale, y + _BAR + 2, 0.55)
        end = sum(found["stages_ms"].values()) / whole_ms * scale
        note = f"{found['mean_ms']:.0f} ms · error {found['error_mean']:.2g}"
        parts.append(_text(_LEFT + end + 6, y + _BAR - 3, note, "start", 11))
    size = f'width="{_LEFT + _WIDTH + 150}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


def _title(result: dict[str, Any]) -> str:
    s = result["settings"]
    title = f"{s['backbone']}, {s['dtype']}, {s['device']}, {result['frames']} frames of "
    return _text(_LEFT, 20, title + s["footage"], "start", 14)


def _legend() -> list[str]:
    parts, x = [], _LEFT
    for stage, colour in _COLOURS.items():
        parts.append(f'<rect x="{x}" y="30" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 14, 39, stage, "start", 11))
        x += 80
    return [*parts, _text(x, 39, "above: time, below: multiply-adds", "start", 11)]


def _grid(scale: float, height: int) -> list[str]:
    parts = []
    for tenths in range(0, 11, 2):
        x = _LEFT + tenths / 10 * scale
        line = f'x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{height - 30}"'
        parts.append(f'<line {line} stroke="#ddd"/>')
        parts.append(_text(x, height - 14, f"{tenths / 10:g}", "middle", 11))
    return parts


def _bar(
    stages: dict[str, float], whole: float, scale: float, y: float, opacity: float
) -> list[str]:
    parts, x = [], float(_LEFT)
    for stage in STAGES:
        width = stages[stage] / whole * scale
        place = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}"'
        parts.append(f'<rect {place} fill="{_COLOURS[stage]}" opacity="{opacity}"/>')
        x += width
    return parts


def _text(x: float, y: float, text: str, anchor: str, size: int) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f'<text {place} fill="#222">{escape(text)}</text>'
