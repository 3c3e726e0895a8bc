"""HTML for notebooks: tables and a small curve. No scripts, no style sheet, and no colours but those of the curve.

Text and lines take the page's own colour, so that all of it is legible on a light and on a dark background.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

WIDTH, HEIGHT, EDGE = 360, 120, 6  # of a curve, in pixels
MOST_POINTS = 300
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # at least 3 : 1 on white and on black
CELL = "padding:.15em .8em;vertical-align:top;"


def escaped(text: str) -> str:
    """Text that stands for itself in HTML; the standard library's module for this takes a millisecond to import."""
    for character, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        text = text.replace(character, f"&{name};")
    return text


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", numeric: Iterable[int] = ()) -> str:
    """A table of texts, all of them escaped; the columns in `numeric` are set flush right, all others flush left."""
    right = set(numeric)

    def cell(tag: str, column: int, text: str, more: str = "") -> str:
        style = f"{CELL}text-align:{'right' if column in right else 'left'}"
        return f'<{tag}{more} style="{style}">{escaped(text)}</{tag}>'

    def line(cells: Iterable[str]) -> str:
        return f'<tr style="background:none">{"".join(cells)}</tr>'

    parts = ['<table style="border-collapse:collapse;color:inherit;background:none">']
    if caption:
        parts.append(f'<caption style="text-align:left;white-space:nowrap;color:inherit">{escaped(caption)}</caption>')
    heads = line(cell("th", column, text, ' scope="col"') for column, text in enumerate(head))
    parts.append(f'<thead style="border-bottom:1px solid currentColor">{heads}</thead>' if head else "")
    parts.append(f"<tbody>{''.join(line(cell('td', c, text) for c, text in enumerate(row)) for row in rows)}</tbody>")
    return "".join([*parts, "</table>"])


def paragraph(text: str) -> str:
    """Text as a paragraph, escaped."""
    return f"<p>{escaped(text)}</p>"


def heading(text: str) -> str:
    """Text as a heading, escaped."""
    return f"<h4>{escaped(text)}</h4>"


def beside(parts: Iterable[str]) -> str:
    """Parts beside each other, as far as there is room."""
    style = "display:flex;flex-wrap:wrap;align-items:flex-start;gap:.5em 1.5em"
    return f'<div style="{style}">{"".join(parts)}</div>'


def curves(columns: Mapping[str, Sequence[float]]) -> str:
    """Curves over the epochs as a picture (SVG): name -> values; "val_…" is dashed. Empty where nothing can be drawn.

    The height is logarithmic if all values are positive and span more than two decades.
    """
    finite = [value for values in columns.values() for value in values if math.isfinite(value)]
    epochs = max(map(len, columns.values()), default=0)
    if epochs < 2 or not finite:
        return ""
    logarithmic = min(finite) > 0 and max(finite) > 100 * min(finite)
    scale = math.log if logarithmic else float
    low, high = scale(min(finite)), scale(max(finite))

    def point(epoch: int, value: float) -> str:
        part = (scale(value) - low) / (high - low) if high > low else 0.5
        x = EDGE + (WIDTH - 2 * EDGE) * epoch / (epochs - 1)
        return f"{x:.1f},{HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * part:.1f}"

    plain = list(dict.fromkeys(name.removeprefix("val_") for name in columns))
    drawn, told, legend = [], [], []
    for name, values in columns.items():
        colour = LINES[plain.index(name.removeprefix("val_")) % len(LINES)]
        dashed = ' stroke-dasharray="5 3"' if name.startswith("val_") else ""
        chosen = sorted({*range(0, len(values), max(1, -(-len(values) // MOST_POINTS))), len(values) - 1})
        points = " ".join(point(i, values[i]) for i in chosen if math.isfinite(values[i]))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"{dashed}/>')
        told.append(f"{name} {values[0]:.4g} → {values[-1]:.4g}")
        legend.append(f'<span style="color:{colour}">{"╌╌" if dashed else "━━"}</span> {escaped(told[-1])}')
    scaled = ", on a logarithmic scale" if logarithmic else ""
    text = f"{epochs} epochs: {', '.join(told)}{scaled}"
    frame = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="currentColor" stroke-opacity=".3"/>'
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    named = f'role="img" aria-label="{escaped(text)}"'
    return (
        f'<figure style="margin:.5em 0"><svg xmlns="http://www.w3.org/2000/svg" {size} {named}>{frame}{"".join(drawn)}'
        f"</svg><figcaption>{epochs} epochs: {', '.join(legend)}{scaled}</figcaption></figure>"
    )
