"""The plot sheet at the end of a training: curves, PCK, drawn predictions, heatmaps and gates."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure, FigureBase
from torch import Tensor

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.images import read_image
from softgate_ext.data.poseset import PoseSet
from softgate_ext.evaluation.measure import reference_lengths
from softgate_ext.figures.curves import draw_learning_curve
from softgate_ext.figures.gate_histograms import draw_gate_histograms
from softgate_ext.figures.style import save
from softgate_ext.inference.pose_inference import PoseInference
from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.pose.draw import contact_sheet, draw_pose
from softgate_ext.pose.geometry import apply_affine, crop_affine, warp
from softgate_ext.pose.metrics import normalized_distances
from softgate_ext.pose.protocol import Score
from softgate_ext.pose.skeleton import Skeleton
from softgate_ext.runs.log import Entry

CROP = 224  # side of a drawn sample, in pixels
SHOWN = 6  # samples in a row
FARTHEST = 0.5  # end of the PCK curve, in reference lengths


def plot_sheet(
    path: Path,
    entries: Sequence[Entry],
    baseline: Score,
    people: PoseSet,
    joints: np.ndarray,
    inference: PoseInference,
    gates: Mapping[str, Tensor],
) -> None:
    """Plots curves, PCK by distance and joint, best and worst samples, heatmaps and gates as one PNG.

    Args:
        path: the PNG file.
        entries: the log of the run.
        baseline: score of the constant mean pose by the metric of the watched samples.
        people: the watched samples.
        joints: (N, J, 2), their predicted joints, in pixels of their images.
        inference: the network, for the heatmaps.
        gates: the gates by the name of their block, from the image to the heatmaps; may be empty.

    Raises:
        InputError: the log is empty, or the file cannot be written.
    """
    lengths = reference_lengths(people, baseline.protocol)
    labelled = people.labelled & np.isfinite(lengths)[:, None]
    distances = normalized_distances(joints, people.joints, labelled, np.nan_to_num(lengths))
    ranked = _from_best_to_worst(distances)
    best, worst = ranked[:SHOWN], ranked[::-1][:SHOWN]
    spread = ranked[np.linspace(0, len(ranked) - 1, min(SHOWN, len(ranked))).astype(int)]
    rows = {
        "best predictions": [draw_person(people, i, joints[i]) for i in best],
        "worst predictions": [draw_person(people, i, joints[i]) for i in worst],
    }
    if isinstance(inference.codec, HeatmapCodec):
        title = "heatmaps from the best to the worst, maximum over the joints"
        rows[title] = draw_heatmaps(people.subset(spread), inference)

    heights = [3.6, 4.2, *(2.5 for _ in rows)] + ([2.0 + 0.16 * len(gates)] if gates else [])
    figure = Figure(figsize=(13, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    parts = (figure.add_subfigure(grid[row]) for row in range(len(heights)))
    draw_learning_curve(next(parts), entries, baseline.main)
    draw_pck_curves(next(parts), distances, people.skeleton)
    for title, pictures in rows.items():
        axes = next(parts).subplots()
        axes.imshow(contact_sheet(pictures, SHOWN))
        axes.set_axis_off()
        axes.set_title(title)
    if gates:
        draw_gate_histograms(next(parts), gates)
    save(figure, path)


def _from_best_to_worst(distances: np.ndarray) -> np.ndarray:
    """Indices of the measured samples by mean distance, each joint's distance limited to 1.

    With the limit, one joint that is far off does not dominate the mean.
    """
    measured = np.flatnonzero(~np.isnan(distances).all(1))
    mean = np.nanmean(np.minimum(distances[measured], 1.0), axis=1)
    return np.asarray(measured[np.argsort(mean, kind="stable")])


def draw_pck_curves(figure: FigureBase, distances: np.ndarray, skeleton: Skeleton) -> None:
    """Plots the PCK of each joint by the threshold, up to half a reference length.

    Args:
        figure: the figure to draw into.
        distances: (N, J), the result of `normalized_distances`.
        skeleton: the joints.
    """
    thresholds = np.linspace(0, FARTHEST, 101)
    axes = figure.subplots()
    parts = list(dict.fromkeys(name.part for name in skeleton.names))
    for joint, name, column in zip(skeleton.joints, skeleton.names, distances.T, strict=True):
        known = column[~np.isnan(column)]
        if known.size:
            axes.plot(
                thresholds,
                100 * (known[:, None] <= thresholds).mean(0),
                "--" if name.side == "right" else "-",
                color=f"C{parts.index(name.part)}",
                label=joint.replace("_", " "),
            )
    axes.set(
        xlabel="distance within which a joint counts, in reference lengths",
        ylabel="PCK (%)",
        ylim=(0, 100),
    )
    figure.legend(frameon=False, loc="outside right center", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)


def draw_person(
    people: PoseSet, index: int, joints: np.ndarray, scores: np.ndarray | None = None
) -> np.ndarray:
    """The crop of a sample, (CROP, CROP, 3) uint8, with joints drawn.

    Args:
        people: the samples.
        index: number of the sample.
        joints: (J, 2), in pixels of the source image.
        scores: (J,); joints with a score below 0.1 are not drawn. None draws all.
    """
    matrix = crop_affine(people.centers[index], float(people.sizes[index]), CROP)
    crop = warp(read_image(people.image_paths[index]), matrix, CROP)
    shown = None if scores is None else scores >= 0.1
    return draw_pose(crop, apply_affine(matrix, joints), shown, people.skeleton)


def draw_heatmaps(people: PoseSet, inference: PoseInference) -> list[np.ndarray]:
    """The crop of each sample, dimmed, with the largest heatmap value of all joints over it."""
    size = inference.codec.image_size
    dataset = PoseDataset(people, size)
    pictures = []
    for index in range(len(dataset)):
        crop = dataset[index]["image"]
        heat = inference.outputs(crop[None])[0].amax(0).clamp(0, 1).cpu().numpy()
        grey = cv2.cvtColor(crop.numpy().transpose(1, 2, 0), cv2.COLOR_RGB2GRAY)
        dimmed = cv2.resize(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), (CROP, CROP)) // 2
        glow = cv2.resize((255 * heat).astype(np.uint8), (CROP, CROP))
        colours = cv2.cvtColor(cv2.applyColorMap(glow, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
        pictures.append(cv2.add(dimmed, colours))
    return pictures
