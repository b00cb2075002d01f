"""The colours of all plots, and how a plot is written."""

from pathlib import Path

from matplotlib.figure import Figure

from softgate_ext.files.atomic import replacing

BLUE, ORANGE, GREY = "#2563a8", "#d9730d", "#8a8a8a"


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
