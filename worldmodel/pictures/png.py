"""Figures to files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from worldmodel.files import write_atomic


def write_png(path: Path, figure: Figure) -> None:
    """Writes a figure as a PNG, whole or not at all; the folder of `path` must exist."""
    png = BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    write_atomic(path, png.getvalue())
