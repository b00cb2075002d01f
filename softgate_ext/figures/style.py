"""What the figures have in common: their colours, and how they are written."""

from pathlib import Path

from matplotlib.figure import Figure

from softgate_ext.files.atomic import replacing

BLUE, ORANGE, GREY = "#2563a8", "#d9730d", "#8a8a8a"


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, at once."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
