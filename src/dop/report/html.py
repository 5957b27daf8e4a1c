"""Pieces of a page: text that is escaped, tables, and matplotlib's figures as SVG that follows the reader's light or dark colours."""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from dop.report.curves import COLOURS, style

_INKS = {"#333333": "var(--ink)", "#777777": "var(--soft)", "#e6e6e6": "var(--grid)", "#999999": "var(--axis)", "#ffffff": "transparent"}
_numbers = itertools.count()


def text(value: object) -> str:
    """Any text, safe in a page."""
    return html.escape(str(value))


def json_inside(data: Any) -> str:
    """Data in a script element, which no text in it can end."""
    return json.dumps(data).replace("<", "\\u003c")


def svg(picture: Figure, *, title: str, description: str) -> str:
    """A figure to stand in a page: words stay words, colours become the page's, ids are its own, and screen readers get both texts."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        picture.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    for colour, themed in _INKS.items() | {c.lower(): f"var(--c{i})" for i, c in enumerate(COLOURS)}.items():
        drawn = re.sub(rf"(fill|stroke): {colour}(?![0-9a-f])", rf"\1: {themed}", drawn, flags=re.IGNORECASE)
    drawn = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", drawn)
    own = f"f{next(_numbers)}-"
    drawn = re.sub(r'\bid="', f'id="{own}', drawn)
    drawn = re.sub(r'(href="#|url\(#)', rf"\1{own}", drawn)
    drawn = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", drawn, count=1), count=1)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    words = f'<title id="{own}title">{text(title)}</title><desc id="{own}desc">{text(description)}</desc>'
    described = f' role="img" aria-labelledby="{own}title {own}desc">{words}'
    return re.sub(r"(<svg\b[^>]*)>", lambda found: found[1] + described, drawn, count=1)  # no template: words may have backslashes


def figure(picture: Figure, *, title: str, description: str) -> str:
    """A figure with its title above."""
    return f"<figure><h3>{text(title)}</h3>{svg(picture, title=title, description=description)}</figure>"


def png(picture: UInt8[np.ndarray, "height width 3"], *, colours: int = 48) -> str:
    """An image in base64, of few colours and therefore small."""
    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(colours).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, wrap: bool = False) -> str:
    """A table that scrolls by itself where it is too wide. Its cells are HTML already; the first of each row names it."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in header)
    body = "".join(f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows)
    label = text(caption)
    look = ' class="wrap"' if wrap else ""
    inside = f'<table{look}><caption class="soft">{label}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{inside}</div>'


_GAPS = {"-": 0, "--": 7, ":": 3}
"""Pixels between a line's dashes."""


def swatch(index: int) -> str:
    """A line's colour and dashes, which repeat what a word beside them says."""
    colour, gap = f"var(--c{index % len(COLOURS)})", _GAPS[style(index)["linestyle"]]
    look = f"repeating-linear-gradient(90deg, {colour} 0 {gap}px, transparent {gap}px {2 * gap}px)" if gap else colour
    return f'<span class="swatch" style="background: {look}" aria-hidden="true"></span>'
