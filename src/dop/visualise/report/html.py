"""Pieces of a page: its template, tables, and matplotlib's figures as SVG that follows the reader's light or dark colours.

The template engine escapes every text. Only `Markup` is inserted unchanged; it is made in this file alone, from the library's own template,
style sheet and script, and from matplotlib's drawings.
"""

from __future__ import annotations

import base64
import functools
import io
import itertools
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any
from xml.etree import ElementTree

import jinja2
import matplotlib as mpl
import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from dop.visualise.curves import COLOURS, style
from dop.visualise.texts import as_written, visible

_INKS = {"#333333": "var(--ink)", "#777777": "var(--soft)", "#e6e6e6": "var(--grid)", "#999999": "var(--axis)", "#ffffff": "transparent"}
_THEMED = _INKS | {colour.lower(): f"var(--c{index})" for index, colour in enumerate(COLOURS)}
_numbers = itertools.count()


# ----------------------------------------------------------------------------------------------------------------- template


@functools.cache
def _macros() -> Any:
    """The macros of `templates/page.html.jinja`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dop.visualise.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else visible(value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").module


def piece(name: str, /, **content: Any) -> Markup:
    """Render one of the template's macros. Texts are escaped; `Markup` is not."""
    return getattr(_macros(), name)(**content)


def own_file(name: str) -> Markup:
    """The page's style sheet or script."""
    return Markup(resources.files("dop.visualise.report").joinpath(name).read_text(encoding="utf-8"))


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, wrap: bool = False) -> Markup:
    """A table that scrolls if it is too wide. The first cell of each row is its header. `wrap`: allow several lines per cell."""
    return piece("table", id=f"t{next(_numbers)}", caption=caption, header=header, rows=list(rows), wrap=wrap)


_GAPS = {"-": 0, "--": 7, ":": 3}
"""Pixels between the dashes of each style."""


def line_look(index: int) -> str:
    """A line's colour and dashes, as CSS."""
    colour, gap = f"var(--c{index % len(COLOURS)})", _GAPS[style(index)["linestyle"]]
    return f"repeating-linear-gradient(90deg, {colour} 0 {gap}px, transparent {gap}px {2 * gap}px)" if gap else colour


def colour_look(colour: str) -> str:
    """A colour as CSS: a variable of the page if there is one."""
    return f"var(--c{COLOURS.index(colour)})" if colour in COLOURS else colour


# ----------------------------------------------------------------------------------------------------------------- pictures


def svg(picture: Figure, *, title: str, description: str) -> Markup:
    """A figure as SVG: texts stay texts, colours become the page's, ids are unique, and screen readers get both texts."""
    root = _drawn(picture)
    own = f"f{next(_numbers)}-"
    for element in root.iter():
        element.tag = _local(element.tag)
        for name in list(element.attrib):
            value = element.attrib.pop(name)
            element.set(_local(name), _themed(_local(name), value, own))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{own}title {own}desc"}
    for place, (kind, words) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(kind, id=f"{own}{kind}")
        element.text = visible(words)
        root.insert(place, element)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _drawn(picture: Figure) -> ElementTree.Element:
    """Matplotlib's SVG without metadata."""
    buffer = io.StringIO()
    with as_written(picture), mpl.rc_context({"svg.fonttype": "none"}):
        picture.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    root = ElementTree.fromstring(drawn[drawn.index("<svg") :])
    for element in [element for element in root if _local(element.tag) == "metadata"]:
        root.remove(element)
    return root


def _local(name: str) -> str:
    """A name without its namespace, which HTML does not need."""
    return name.rpartition("}")[2]


def _themed(name: str, value: str, own: str) -> str:
    """An attribute with the page's colours and font, and with `own` before every id."""
    if name == "id":
        return own + value
    if name == "href":
        return value.replace("#", f"#{own}", 1)
    value = value.replace("url(#", f"url(#{own}")
    for colour, themed in _THEMED.items():
        value = re.sub(rf"(fill|stroke): {colour}(?![0-9a-f])", rf"\1: {themed}", value, flags=re.IGNORECASE)
    return re.sub(r"'DejaVu Sans'[^;]*", "system-ui, sans-serif", value)


def figure(picture: Figure, *, title: str, description: str) -> Markup:
    """A figure with a title."""
    return piece("figure", title=title, drawn=svg(picture, title=title, description=description))


def png(picture: UInt8[np.ndarray, "height width 3"], *, colours: int = 48) -> str:
    """An image in base64, reduced to few colours to be small."""
    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(colours).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
