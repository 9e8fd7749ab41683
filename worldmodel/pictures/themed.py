"""Figures for pages: SVG that takes its ink from the page, light or dark."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from io import StringIO
from typing import Any
from zlib import crc32

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#010203"  # what nothing is drawn in on purpose; becomes the page's own colour of text
STYLE: Any = {  # of names that only some versions of matplotlib list for type checkers
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK
    ),
    "grid.color": INK,
    "svg.hashsalt": "figures",  # the same figure is the same text each time
    "svg.fonttype": "none",  # text stays text: it can be selected, read aloud, and takes the page's font
}


def themed_svg(draw: Callable[[], Figure], description: str) -> str:
    """An ``<svg>`` element for a page, as wide as what it stands in, without a background.

    Args:
        draw: makes the figure; what it draws in a colour of its own keeps it.
        description: what the figure shows, for those who cannot see it.
    """
    with rc_context(STYLE):
        figure = draw()
        figure.patch.set_visible(False)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        text = StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    # Elements that refer to each other by id would find those of another figure on the same page.
    prefix = f"f{crc32(description.encode()):08x}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", svg)
    width, height = 72 * figure.get_size_inches()
    opening = (
        f'<svg class="figure" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(description)}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return opening + svg.partition(">")[2]
