"""Plots as plain SVG: lines and bars over time, one panel above the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

WIDTH, LEFT, RIGHT = 900, 90, 20
INNER = WIDTH - LEFT - RIGHT
TOP, PANEL, GAP, BOTTOM = 40, 110, 26, 30
COLOURS = ("#1f4e79", "#b5482a", "#5f7f2f", "#7a4f9a")
STYLE = "font-family='Helvetica, Arial, sans-serif' font-size='11' fill='#333'"


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity over the days."""

    title: str
    values: Sequence[float]
    is_bar: bool = False
    from_zero: bool = False


def format_number(value: float) -> str:
    """Return a number as an axis shows it."""
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:,.1f}M"
    if abs(value) >= 10_000:
        return f"{value / 1_000:,.0f}k"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def place(number: int, count: int) -> float:
    """Return the horizontal place of a day."""
    return LEFT + INNER * (number + 0.5) / max(1, count)


def draw_panel(panel: Panel, top: float, colour: str) -> list[str]:
    """Return the elements of a panel whose upper edge is at `top`."""
    low, high = min(panel.values), max(panel.values)
    if panel.is_bar or panel.from_zero:
        low = min(0.0, low)
    if high <= low:
        high = low + 1
    count = len(panel.values)

    def level(value: float) -> float:
        return top + PANEL * (high - value) / (high - low)

    parts = [
        f"<rect x='{LEFT}' y='{top}' width='{INNER}' height='{PANEL}' fill='none' stroke='#bbb'/>",
        f"<text x='{LEFT}' y='{top - 6}' {STYLE}>{escape(panel.title)}</text>",
    ]
    parts.extend(
        f"<text x='{LEFT - 6}' y='{level(value) + 4:.1f}' text-anchor='end' {STYLE}>"
        f"{format_number(value)}</text>"
        for value in (low, high)
    )
    if panel.is_bar:
        width = max(1.0, INNER / count * 0.7)
        parts.extend(
            f"<rect x='{place(number, count) - width / 2:.1f}' y='{level(value):.1f}' "
            f"width='{width:.1f}' height='{level(0) - level(value):.1f}' fill='{colour}'/>"
            for number, value in enumerate(panel.values)
            if value > 0
        )
    else:
        points = " ".join(
            f"{place(number, count):.1f},{level(value):.1f}"
            for number, value in enumerate(panel.values)
        )
        parts.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.5'/>"
        )
    return parts


def draw_dates(dates: Sequence[date], bottom: float) -> list[str]:
    """Return a label for the first day of every month."""
    parts = []
    for number, day in enumerate(dates):
        if number == 0 or dates[number - 1].month != day.month:
            parts.append(
                f"<text x='{place(number, len(dates)):.1f}' y='{bottom + 16}' "
                f"text-anchor='middle' {STYLE}>{day:%b %y}</text>"
            )
    return parts


def draw(title: str, dates: Sequence[date], panels: Sequence[Panel]) -> str:
    """Return an SVG document."""
    bottom = TOP + len(panels) * (PANEL + GAP)
    size = f"width='{WIDTH}' height='{bottom + BOTTOM}'"
    view = f"viewBox='0 0 {WIDTH} {bottom + BOTTOM}'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} {view}>",
        "<rect width='100%' height='100%' fill='white'/>",
        f"<text x='{LEFT}' y='18' {STYLE} font-weight='bold'>{escape(title)}</text>",
    ]
    for number, panel in enumerate(panels):
        top = TOP + number * (PANEL + GAP)
        parts += draw_panel(panel, top, COLOURS[number % len(COLOURS)])
    parts += draw_dates(dates, bottom - GAP)
    return "\n".join([*parts, "</svg>", ""])
