"""Line plots as SVG that stand alone, in a page as in a document, and read on light and on dark ground."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_W, _H, _LEFT, _BOTTOM, _TOP, _RIGHT = 440, 280, 52, 46, 14, 12
_COLOURS: Final = (("#b4530a", "#f0a35e"), ("#1d5fae", "#7db4f5"), ("#2f7d4f", "#74cf9b"))


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through points (x, y), with the ends of its confidence intervals if they are known."""

    name: str
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float]] = ()


def plot(
    lines: Sequence[Line],
    x: tuple[str, float, float],
    y: tuple[str, float, float],
    *,
    percent: bool = True,
    diagonal: bool = False,
) -> str:
    """Draw lines over axes given as (name, least, most); `diagonal` adds the line where both are equal."""
    (x_name, x0, x1), (y_name, y0, y1) = x, y

    def at(a: float, b: float) -> tuple[float, float]:
        across = (min(max(a, x0), x1) - x0) / (x1 - x0)
        up = (min(max(b, y0), y1) - y0) / (y1 - y0)
        return _LEFT + across * (_W - _LEFT - _RIGHT), _H - _BOTTOM - up * (_H - _BOTTOM - _TOP)

    parts = [_grid(x, y, percent)]
    if diagonal:
        (a, b), (c, d) = at(x0, x0), at(x1, x1)
        parts.append(f'<path class="even" d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}"/>')
    for number, line in enumerate(lines):
        kind = f"c{number % len(_COLOURS)}"
        if line.intervals:
            above = [at(p[0], high) for p, (_, high) in zip(line.points, line.intervals, strict=True)]
            below = [at(p[0], low) for p, (low, _) in zip(line.points, line.intervals, strict=True)]
            parts.append(f'<path class="{kind} band" d="{_path([*above, *reversed(below)])}Z"/>')
        drawn = [at(*point) for point in line.points]
        parts.append(f'<path class="{kind} line" d="{_path(drawn)}"/>')
        parts += [f'<circle class="{kind} dot" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in drawn]
        words = f'<text class="{kind} name" x="{_LEFT + 10}" y="{_TOP + 14 + 15 * number}">{escape(line.name)}</text>'
        parts.append(words)
    title = f"{y_name} against {x_name}: {', '.join(line.name for line in lines)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_W} {_H}" width="{_W}" height="{_H}" role="img">'
        f"<title>{escape(title)}</title><style>{_style()}</style>{''.join(parts)}"
        f'<text x="{(_W + _LEFT) / 2:.0f}" y="{_H - 8}" text-anchor="middle">{escape(x_name)}</text>'
        f'<text transform="rotate(-90 13 {_H / 2:.0f})" x="13" y="{_H / 2:.0f}" text-anchor="middle">'
        f"{escape(y_name)}</text></svg>\n"
    )


def _grid(x: tuple[str, float, float], y: tuple[str, float, float], percent: bool) -> str:
    parts = []
    for step in range(6):
        a, b = x[1] + (x[2] - x[1]) * step / 5, y[1] + (y[2] - y[1]) * step / 5
        across, up = _LEFT + (_W - _LEFT - _RIGHT) * step / 5, _H - _BOTTOM - (_H - _BOTTOM - _TOP) * step / 5
        parts.append(f'<path class="grid" d="M{_LEFT} {up:.1f}H{_W - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{up + 4:.1f}" text-anchor="end">{_number(b, percent)}</text>')
        words = _number(a, percent and x[2] <= 1)
        parts.append(f'<text x="{across:.1f}" y="{_H - _BOTTOM + 16}" text-anchor="middle">{words}</text>')
    return "".join(parts)


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.3g} %" if percent else f"{value:.3g}"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)


def _style() -> str:
    def colours(column: int, ink: str, grid: str) -> str:
        kinds = "".join(
            f".c{n}.line{{stroke:{pair[column]}}}.c{n}.band,.c{n}.dot,.c{n}.name{{fill:{pair[column]}}}"
            for n, pair in enumerate(_COLOURS)
        )
        return f"text{{fill:{ink}}}.grid,.even{{stroke:{grid}}}{kinds}"

    return (
        "text{font:11px system-ui,sans-serif}.line,.grid,.even{fill:none}.line{stroke-width:2}.grid{stroke-width:.5}"
        ".even{stroke-dasharray:4 4}.band{opacity:.18}.name{font-weight:600}"
        f"{colours(0, '#333', '#999')}@media(prefers-color-scheme:dark){{{colours(1, '#ddd', '#777')}}}"
    )
