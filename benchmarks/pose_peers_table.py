"""Makes the Markdown table of the pose networks, and a plot of their accuracy against time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from softgate_ext.figures.style import BLUE, GREY, ORANGE, save

LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")  # left and right: 12 joints
_EFFICIENT = "EfficientPose's README (github.com/daniegr/EfficientPose)"
_MOVENET = "tensorflow.org/lite/examples/pose_estimation"
_BLAZE = "MediaPipe's pose.md (github.com/google-ai-edge/mediapipe)"
# Network, side of the input, parameters, cost as the source states it, accuracy, source.
PUBLISHED = (
    ("EfficientPose RT", 224, "0.46 M", "0.87 GFLOPs", "PCKh@0.5 82.9, MPII validation", _EFFICIENT),
    ("EfficientPose I", 256, "0.72 M", "1.67 GFLOPs", "PCKh@0.5 85.2, MPII validation", _EFFICIENT),
    ("EfficientPose II", 368, "1.73 M", "7.70 GFLOPs", "PCKh@0.5 88.2, MPII validation", _EFFICIENT),
    ("MoveNet Lightning", 192, "-", "-", "AP 63.0, COCO's lone people; 60 ms, Pixel 5, 4 threads", _MOVENET),
    ("MoveNet Thunder", 256, "-", "-", "AP 72.0, COCO's lone people; 155 ms, Pixel 5, 4 threads", _MOVENET),
    ("MoveNet Thunder", 256, "-", "-", "PCK@0.2 87.8, LSP's 12 limb joints", "measured outside of this project, crops unknown"),
    ("BlazePose Lite", 256, "-", "-", "PCK@0.2 90.2, its own yoga pictures", _BLAZE),
    ("BlazePose Full", 256, "-", "-", "PCK@0.2 95.5, its own yoga pictures", _BLAZE),
    ("BlazePose Heavy", 256, "-", "-", "PCK@0.2 96.4, its own yoga pictures", _BLAZE),
)  # fmt: skip


def table(results: Mapping[str, Any]) -> str:
    """A table of the measured networks, and one of published figures on other datasets."""
    clock = "processor time" if results["clock"] == "cpu" else "wall time"
    lines = [
        f"Measured on the {results['people']} test samples of {results['data']} and on "
        f"{results['machine']['cpu']}, {results['machine']['threads']} thread(s), {clock}, "
        f"with a load of {results['load']}:",
        "",
        "| network | input | parameters | GMAC | PCK@0.2, 12 limb joints | all 14 joints | ms a picture |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        joints = "-" if row["joints"] is None else f"{row['joints']:.1f}"
        lines.append(
            f"| {row['name']} | {row['side']} | {row['parameters'] / 1e6:.2f} M | {row['macs'] / 1e9:.2f} | "
            f"{row['limbs']:.1f} | {joints} | {1000 * row['seconds']:.1f} |"
        )
    lines += ["", "Published by others:", ""]
    lines += [
        "| network | input | parameters | cost | figure | source |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(map(str, row))} |" for row in PUBLISHED]
    return "\n".join(lines) + "\n"


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Plots accuracy against time as PNG. The area of a mark shows the multiply-accumulates."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(results["rows"]):
        ours = row["name"].startswith("softgate")
        x, y = 1000 * row["seconds"], row["limbs"]
        axes.scatter(x, y, 30 + 60 * row["macs"] / 1e9, color=BLUE if ours else ORANGE, alpha=0.8)
        words = f"{row['name']}\n{row['parameters'] / 1e6:.2f} M, {row['macs'] / 1e9:.2f} GMAC"
        place = (8, -24 if number % 2 else 8)  # neighbours may be close
        axes.annotate(words, (x, y), place, textcoords="offset points", fontsize=8, color=GREY)
    axes.set_xscale("log")
    axes.margins(0.3)
    axes.set_xlabel(
        f"ms a picture, {results['machine']['threads']} thread(s), load {results['load']}"
    )
    axes.set_ylabel("PCK@0.2 of 12 limb joints, LSP (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3, which="both")
    save(figure, path)
