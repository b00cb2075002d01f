"""Compares pose networks of others with ours on the same crops: ``python -m benchmarks.pose_peers``.

It measures PCK@0.2 on the 1000 test people of Leeds Sports Pose, where the whole image is the crop. It counts
parameters and multiply-accumulates, and times one image at a time, all networks in turns. EfficientPose runs in
OpenVINO (extra `peers`) from TFLite files, which lie in `peers/` beside the dataset. For networks that cannot be
run, the table has published figures with their sources. ``--times`` keeps the accuracies of the result file and
measures only the times.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from benchmarks.machine import describe_machine
from benchmarks.pose_peers_table import LIMBS, draw, table
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.formats import open_dataset
from softgate_ext.data.join import select_joints, with_joints_of
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.evaluation.measure import protocol_for, score
from softgate_ext.files.atomic import write_json
from softgate_ext.files.reading import read_json
from softgate_ext.inference.fold import fold
from softgate_ext.inference.pose_inference import to_source
from softgate_ext.models.hybrid import IMAGENET_MEAN, IMAGENET_STD
from softgate_ext.models.profile import profile
from softgate_ext.pose.skeleton import Skeleton
from softgate_ext.prediction.detection_networks import openvino_core
from softgate_ext.runs.opening import load_run
from softgate_ext.training.timing import in_turns

RESULTS = Path(__file__).resolve().parent / "results"
OURS = ("softgate-small", "softgate-medium")
FILES = {"EfficientPose RT": "EfficientPoseRT.tflite", "EfficientPose II": "EfficientPoseII.tflite"}
# The order of EfficientPose's heatmaps, from `extract_coordinates` of its repository.
JOINTS = (
    "head_top", "upper_neck", "right_shoulder", "right_elbow", "right_wrist", "thorax", "left_shoulder",
    "left_elbow", "left_wrist", "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee",
    "left_ankle",
)  # fmt: skip
THEIRS = Skeleton("efficientpose", JOINTS, (), ())
ROUNDS = 20


@dataclass
class PosePeer:
    """A network that is measured here.

    Attributes:
        name: name of the network.
        side: side of its input in pixels.
        parameters, macs: counted here. MACs are those of the convolutions.
        forward: runs the network on one image.
        accuracy: returns the PCK of each joint of LSP in percent. NaN where the network has no such
            joint.
    """

    name: str
    side: int
    parameters: int
    macs: int
    forward: Callable[[], object]
    accuracy: Callable[[PoseSet], np.ndarray]


def our_peer(name: str, data: Path) -> PosePeer:
    """A network that comes with the package, run in the same way as `softgate evaluate` runs it."""
    model, run, _ = load_run(name)
    cost = profile(model, run.image_size).total
    folded = fold(model, conv="winograd")
    images = torch.rand(1, 3, run.image_size, run.image_size)
    images = images.contiguous(memory_format=torch.channels_last)

    def forward() -> object:
        with torch.inference_mode():
            return folded(images)

    def accuracy(people: PoseSet) -> np.ndarray:
        return evaluate(EvalConfig(Path(name), data, workers=0)).scores["network"].pck.per_joint

    return PosePeer(name, run.image_size, cost.parameters, cost.macs, forward, accuracy)


def efficient_pose(name: str, path: Path, threads: int) -> PosePeer:
    """EfficientPose, from the TFLite file that its authors published."""
    core = openvino_core()
    graph = core.read_model(str(path))
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    network = core.compile_model(graph, "CPU", settings)
    side = graph.inputs[0].shape[1]
    port = next(p for p in network.outputs if any("upscaled_confs" in n for n in p.names))
    random = np.random.default_rng(0).random((1, side, side, 3), np.float32)
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)

    def joints(crop: np.ndarray) -> np.ndarray:
        """The joints (16, 2) in crop pixels. As in its authors' code, the peaks of blurred heatmaps."""
        confidences = network([((crop / np.float32(255) - mean) / std)[None]])[port][0]
        maps = [gaussian_filter(confidences[..., j], 1.0) for j in range(len(JOINTS))]
        peaks = [np.unravel_index(np.argmax(one), one.shape) for one in maps]
        return np.array(peaks, np.float64)[:, ::-1]

    def accuracy(people: PoseSet) -> np.ndarray:
        dataset = PoseDataset(people, side)
        items = (dataset[i] for i in range(len(dataset)))
        found = np.stack(
            [
                to_source(
                    joints(item["image"].permute(1, 2, 0).numpy())[None],
                    item["matrix"][None].numpy(),
                )[0]
                for item in items
            ]
        )
        ours = select_joints(found, THEIRS, people.skeleton)
        return score(ours, with_joints_of(people, THEIRS), protocol_for(people)).pck.per_joint

    parameters, macs = counted(graph)
    return PosePeer(name, side, parameters, macs, lambda: network([random])[port], accuracy)


def counted(graph: Any) -> tuple[int, int]:
    """The parameters of an OpenVINO graph and the MACs of its convolutions. Norms are folded."""
    parameters = macs = 0
    for node in graph.get_ordered_ops():
        kind = node.get_type_name()
        if kind == "Constant" and node.get_element_type().is_real():
            parameters += int(np.prod(node.shape))
        elif "Convolution" in kind:
            output, weights = node.output(0).shape, node.input(1).get_shape()
            if (
                kind == "ConvolutionBackpropData"
            ):  # each input value meets all weights of its channel
                macs += int(np.prod(node.input(0).get_shape()) * np.prod(weights[1:]))
            else:  # (out, in, h, w), or with a group before: what one output value is summed from
                macs += int(np.prod(output) * np.prod(weights[-3:]))
    return parameters, macs


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measures all networks that can be run here, and returns the content of the result file."""
    torch.set_num_threads(options.threads)
    people = open_dataset(options.data, "test", argument="data")
    kept = {row["name"]: row for row in read_json(options.json)["rows"]} if options.times else {}
    folder = options.data.resolve().parent / "peers"
    peers = [our_peer(name, options.data) for name in OURS]
    for name, file in FILES.items():
        if (folder / file).is_file():
            peers.append(efficient_pose(name, folder / file, options.threads))
        else:
            print(f"{name} is left out, for there is no {folder / file}", file=sys.stderr)
    load = os.getloadavg()[0]
    clock = time.process_time if options.busy else time.perf_counter
    calls = {peer.name: peer.forward for peer in peers}
    seconds = in_turns(calls, torch.device("cpu"), ROUNDS, clock)
    rows = []
    for peer in peers:
        row: dict[str, Any] = {k: getattr(peer, k) for k in ("name", "side", "parameters", "macs")}
        row["seconds"] = seconds[peer.name]
        if peer.name in kept:
            row |= {key: kept[peer.name][key] for key in ("limbs", "joints")}
        else:
            each = peer.accuracy(people)
            limbs = [
                i for i, joint in enumerate(people.skeleton.joints) if joint.split("_")[-1] in LIMBS
            ]
            # All joints of LSP's test people are labelled, so the mean over joints needs no weights.
            row |= {"limbs": float(each[limbs].mean()), "joints": float(each.mean())}
        row["joints"] = None if np.isnan(row["joints"] or np.nan) else row["joints"]
        rows.append(row)
    return {
        "machine": describe_machine(),
        "clock": "cpu" if options.busy else "wall",
        "load": round(load, 1),
        "people": len(people),
        "data": options.data.name,
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.pose_peers", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data/lsp_dataset"), help="Leeds Sports Pose"
    )
    parser.add_argument(
        "--json", type=Path, default=RESULTS / "pose_peers.json", help="the result file"
    )
    parser.add_argument("--plot", type=Path, help="where to draw accuracy against time, as PNG")
    parser.add_argument(
        "--times", action="store_true", help="keep the file's accuracies, time again"
    )
    parser.add_argument("--show", action="store_true", help="measure nothing, show the result file")
    parser.add_argument(
        "--busy",
        action="store_true",
        help="time by the process's own seconds, on a machine that others use",
    )
    parser.add_argument("--threads", type=int, default=1, help="of each network")
    options = parser.parse_args(arguments)
    try:
        if not options.show:
            write_json(options.json, measure(options))
        results = read_json(options.json, "json")
        print(table(results), end="")
        if options.plot is not None:
            draw(results, options.plot)
    except InputError as error:
        print(f"benchmarks.pose_peers: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
