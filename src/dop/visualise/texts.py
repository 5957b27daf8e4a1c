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


@contextlib.contextmanager
def as_written(picture: Figure) -> Iterator[None]:
    """Draw a figure's texts literally, not as formulae. Missing characters become boxes, and texts longer than the figure are cut, without
    a warning."""
    for text in picture.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text(visible(text.get_text()))
    with warnings.catch_warnings():
        for message in (r"(?s)Glyph \d+ .* missing from", "constrained_layout not applied"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield
