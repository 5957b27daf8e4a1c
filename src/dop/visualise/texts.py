"""Safe display of texts from run directories and result files, on pages and in figures."""

from __future__ import annotations

import contextlib
import unicodedata
import warnings
from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.text import Text


def visible(text: object) -> str:
    """Any text, with control characters, direction marks and surrogates escaped, as in `\\x00`."""
    written = str(text)
    return written if written.isprintable() else "".join(map(_visible, written))


def _visible(character: str) -> str:
    shown = character.isprintable() or character == "\n" or unicodedata.category(character) == "Zs"
    return character if shown else character.encode("unicode_escape").decode()


def _labels_of_log_axes(picture: Figure) -> Iterator[Text]:
    """Tick labels that Matplotlib writes as formulae."""
    for axes in picture.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                yield from (label for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()) for label in (tick.label1, tick.label2))


@contextlib.contextmanager
def as_written(picture: Figure) -> Iterator[None]:
    """Draw a figure's texts literally, not as formulae, except for the powers of ten on logarithmic axes. Missing characters become boxes,
    and texts longer than the figure are cut, without a warning."""
    powers = {*_labels_of_log_axes(picture)}
    for text in picture.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(text in powers)
        text.set_text(visible(text.get_text()))
    with warnings.catch_warnings():
        for message in (r"(?s)Glyph \d+ .* missing from", "constrained_layout not applied"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield
