"""`PosePredictor`: a trained network that finds the joints of people in images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.files.paths import as_path
from softgate_ext.inference.device import resolve_device
from softgate_ext.inference.pose_inference import PoseInference, to_source
from softgate_ext.models import PoseModel
from softgate_ext.pose.calibration import Calibration
from softgate_ext.pose.geometry import crop_affine, warp
from softgate_ext.pose.skeleton import get_skeleton
from softgate_ext.prediction.detector import MIN_BOX, PersonDetector
from softgate_ext.prediction.person import Box, Person, check_box
from softgate_ext.prediction.picture import Picture, as_picture
from softgate_ext.pretrained.shipped import DEFAULT
from softgate_ext.ranges import check_range
from softgate_ext.runs.opening import load_run
from softgate_ext.runs.options import Amp
from softgate_ext.runs.places import Which
from softgate_ext.runs.run_config import RunConfig

Boxes = Sequence[Sequence[float]]
MIN_SCORE = 0.3
"""Of the joints with a lower score, seven of ten are wrong (docs/prediction.md)."""
CHUNK = 32  # the most crops in a forward pass


@dataclass(frozen=True)
class Located:
    """An image (H, W, 3) uint8 and its people: box, side of the crop in pixels, score of the box."""

    picture: npt.NDArray[np.uint8]
    people: list[tuple[Box, float, float | None]]


@dataclass(frozen=True)
class PersonDetails:
    """A person with the network's input and output.

    Attributes:
        person: the person.
        crop: (S, S, 3) uint8, the input.
        heatmaps: (J, S/4, S/4) float32, the output; None if the network gives joints.
    """

    person: Person
    crop: npt.NDArray[np.uint8]
    heatmaps: npt.NDArray[np.float32] | None


class PosePredictor:
    """Finds the joints of people in images: `PosePredictor.from_pretrained(run)(image)`.

    Threads may share one predictor; their results do not depend on each other.

    Args:
        model: the network.
        config: the configuration of its run.
        device: "auto", "cpu", "cuda" or "cuda:N".
        amp: autocast of convolutions: "off", "bf16" or "auto".
        flip_test: whether to average the heatmaps of each crop and of its mirror image.
        detector: finds the people of an image without boxes; None takes the whole image as one box.
        folded: whether to run the network as `softgate_ext.fold` makes it, which is faster and needs
            less memory. False runs the model itself, whose weights may then still change.
        min_score: joints with a lower score are marked as not shown.
        calibration: turns the peak of a heatmap into the score of the joint; None keeps the peak.

    Raises:
        InputError: the device or an option cannot be used.
    """

    def __init__(
        self,
        model: PoseModel,
        config: RunConfig,
        device: str = "auto",
        amp: Amp = "off",
        flip_test: bool = False,
        detector: PersonDetector | None = None,
        folded: bool = True,
        min_score: float = MIN_SCORE,
        calibration: Calibration | None = None,
    ) -> None:
        check_range("box_margin", config.box_margin)
        check_range("min_score", min_score)
        self.min_score = min_score
        self.config = config
        self.skeleton = get_skeleton(config.skeleton)
        self.detector = detector
        self.calibration = calibration
        codec = model.codec(config.image_size, config.sigma)
        network = model.to(resolve_device(device)).eval()
        self._gates = network.gates()
        self._gives = network.gives
        layout = config.training.channels_last
        self._infer = PoseInference(network, codec, self.skeleton, amp, flip_test, layout, folded)

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: Path | str = DEFAULT,
        weights: Which = "last",
        device: str = "auto",
        amp: Amp = "off",
        flip_test: bool = False,
        detect: bool | float = False,
        folded: bool = True,
        min_score: float = MIN_SCORE,
        min_box: float = MIN_BOX,
    ) -> "PosePredictor":
        """Loads a run that `softgate train` wrote, or weights that the package ships.

        Args:
            path_or_name: the folder of a run; or the name of a run in the folder `runs`, or in the
                folder that the environment variable SOFTGATE_RUNS names; or the name of shipped
                weights (`softgate_ext.models.list_pretrained()`). If a folder and shipped weights
                have the same name, the folder is used.
            weights: the `last` weights of the run, or those that were `best` on its watched samples.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            amp: `off`, `bf16`, or `auto` (bf16 if the device multiplies it natively).
            flip_test: whether to average the heatmaps of each crop and of its mirror image.
            detect: whether to find the people of an image without boxes (needs the packages of docs/prediction.md).
                A number is the lowest score of a detected person; True is 0.5.
            folded: as in `PosePredictor`.
            min_score: joints with a lower score, and those outside the image, are marked as not
                shown.
            min_box: detected people whose box has a shorter longer side, in pixels, are left out.

        Raises:
            InputError: the run or the device cannot be used, or the extra is not installed.
        """
        place = as_path(path_or_name, "path_or_name", "the folder of a run, or a name")
        model, config, about = load_run(place, weights)
        detector = None
        if detect is not False:
            detector = PersonDetector(0.5 if detect is True else detect, min_box)
        watched = about.get("watched")
        told = watched.get("calibration") if isinstance(watched, dict) else None
        calibration = Calibration.from_json(told)
        return cls(model, config, device, amp, flip_test, detector, folded, min_score, calibration)

    @overload
    def __call__(self, image: Picture, boxes: Boxes | None = None) -> list[Person]: ...
    @overload
    def __call__(
        self,
        image: list[Picture] | tuple[Picture, ...],
        boxes: Sequence[Boxes | None] | None = None,
    ) -> list[list[Person]]: ...
    def __call__(self, image: Any, boxes: Any = None) -> list[Person] | list[list[Person]]:
        """Finds the joints of the people in one image or in a list of images.

        Args:
            image: a path; an array (H, W, 3), RGB; a Pillow image; or a tensor (3, H, W). Arrays and
                tensors are uint8, or floats from 0 to 1. Or a list of such images.
            boxes: x, y, width, height of each person in pixels. With None the detector finds the
                people; without a detector the whole image is the box of one person. For a list of
                images: a list with the boxes, or None, of each image.

        Returns:
            The people of the image, one for each box; for a list of images, a list of such lists.

        Raises:
            InputError: an image cannot be read, or a box is empty or outside of its image.
        """
        if not isinstance(image, list | tuple):
            return self.predict([self.locate(as_picture(image), boxes)])[0]
        if boxes is not None and (not isinstance(boxes, Sequence) or len(boxes) != len(image)):
            got = f"{len(boxes)} lists" if isinstance(boxes, Sequence) else f"{boxes!r:.80}"
            raise InputError(
                f"boxes: got {got} for {counted(len(image), 'picture[s]')}; takes one list of boxes for each"
            )
        pairs = zip(image, [None] * len(image) if boxes is None else boxes, strict=True)
        return self.predict([self.locate(as_picture(one), own) for one, own in pairs])

    def locate(self, picture: npt.NDArray[np.uint8], boxes: Boxes | None = None) -> Located:
        """The people to look at in an image (H, W, 3) uint8: the checked boxes, or detected people.

        Raises:
            InputError: a box is empty or outside of the image.
        """
        height, width = picture.shape[:2]
        margin = self.config.box_margin
        if boxes is not None:
            if not isinstance(boxes, Iterable) or isinstance(boxes, str):
                raise InputError(
                    f"boxes: got {boxes!r:.80}; takes a list with one box for each person"
                )
            checked = [check_box(box, width, height) for box in boxes]
            return Located(picture, [(box, max(box[2:]) * margin, None) for box in checked])
        if self.detector is not None:
            found = self.detector(picture)
            return Located(picture, [(box, max(box[2:]) * margin, score) for box, score in found])
        whole = (0.0, 0.0, float(width), float(height))
        return Located(picture, [(whole, max(whole[2:]), None)])

    def predict(self, located: Sequence[Located]) -> list[list[Person]]:
        """The people of each image. Crops of several images share a forward pass."""
        people: list[list[Person]] = [[] for _ in located]
        for index, one in self._details(located):
            people[index].append(one.person)
        return people

    def predict_with_heatmaps(self, located: Located) -> list[PersonDetails]:
        """The people of one image, with their crops and heatmaps."""
        return [one for _, one in self._details([located])]

    def gates(self) -> dict[str, Tensor]:
        """The values of the network's gates by block, in the order of the forward."""
        return self._gates

    def _details(self, located: Sequence[Located]) -> Iterator[tuple[int, PersonDetails]]:
        size = self.config.image_size
        flat = [(index, one) for index, picture in enumerate(located) for one in picture.people]
        for start in range(0, len(flat), CHUNK):
            part = flat[start : start + CHUNK]
            matrices = [
                crop_affine((x + (w - 1) / 2, y + (h - 1) / 2), side, size)
                for _, ((x, y, w, h), side, _) in part
            ]
            crops = np.stack(
                [
                    warp(located[index].picture, matrix, size)
                    for (index, _), matrix in zip(part, matrices, strict=True)
                ]
            )
            outputs = self._infer.outputs(torch.from_numpy(crops).permute(0, 3, 1, 2))
            found, peaks = self._infer.codec.decode(outputs)
            scores = peaks.cpu().numpy()
            if self.calibration is not None:
                scores = self.calibration(scores)
            joints = to_source(found.double().cpu().numpy(), np.stack(matrices))
            rows = zip(part, joints, scores, crops, outputs.cpu(), strict=True)
            for (index, (box, _, sure)), where, score, crop, output in rows:
                height, width = located[index].picture.shape[:2]
                # Pixel centres are at integer coordinates.
                inside = ((where >= -0.5) & (where <= (width - 0.5, height - 0.5))).all(-1)
                shown = inside & (score >= self.min_score)
                person = Person(box, where, score, self.skeleton.joints, shown, sure)
                maps = output.numpy() if self._gives == "heatmaps" else None
                yield index, PersonDetails(person, crop, maps)
