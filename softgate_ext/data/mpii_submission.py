"""Writing and reading of predictions for MPII's test set, in the form of the benchmark's evaluation.

The variable `pred` is the part of `RELEASE.annolist` with `img_train == 0`, with every image and
`annorect` at its position. Predicted people have `annopoints.point(k)` with `x`, `y` (1-based) and `id`
(0 to 15). The benchmark finds the people of `single_person` by their positions.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from softgate_ext.data.matfile import field, load_variable, structs
from softgate_ext.data.mpii import AnnotatedPerson, people_of
from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import MPII


def write_submission(
    path: Path, release: Path, persons: npt.NDArray[np.int64], joints: npt.NDArray[np.floating]
) -> None:
    """Writes `pred` to `path`.

    Args:
        path: the .mat file to write.
        release: the official annotation file.
        persons: (N, 2), 0-based indices of the image in `annolist` and of the person in `annorect`, as
            in `PoseSet.persons`.
        joints: (N, 16, 2), in 0-based pixels.

    Raises:
        InputError: the shapes disagree, a joint is not finite, or a person is not in a test image.
    """
    people = len(persons)
    if joints.shape != (people, len(MPII), 2):
        raise InputError(f"joints must have shape ({people}, 16, 2), got {joints.shape}")
    if not np.isfinite(joints).all():
        raise InputError("joints must be finite, because the benchmark needs a position for each")
    contents = load_variable(release, "RELEASE").ravel()[0]
    annolist = field(contents, "annolist").ravel()
    tested = np.asarray(field(contents, "img_train"), np.float64).ravel() == 0
    place = np.cumsum(tested) - 1
    pred = annolist[tested]
    for (image, person), pose in zip(persons.tolist(), joints + 1, strict=True):
        if not (0 <= image < len(tested) and tested[image]):
            raise InputError(f"persons must name test images, got image {image} (counted from 0)")
        rects = _with_annopoints(pred[place[image]]["annorect"])
        if not 0 <= person < rects.size:
            raise InputError(
                f"persons must be in annorect, got {person} of {rects.size} in image {image}"
            )
        rects["annopoints"].flat[person] = _annopoints(pose)
        pred[place[image]]["annorect"] = rects
    with open(path, "wb") as file:
        scipy.io.savemat(file, {"pred": pred[None]}, do_compression=True)


def read_submission(pred: npt.NDArray[Any], path: Path) -> list[AnnotatedPerson]:
    """All `annorect` of a variable `pred`, predicted or not.

    Args:
        pred: a struct array of images, which may include training images.
        path: the file, for messages.

    Raises:
        InputError: an image has no name, or a joint has an invalid number.
    """
    images = enumerate(structs(pred))
    return [person for i, image in images for person in people_of(image, i, path, "pred")]


def _with_annopoints(rects: Any) -> npt.NDArray[Any]:
    """The struct array with the field `annopoints`, which is added if it is missing."""
    names = rects.dtype.names or ()
    if "annopoints" in names or not rects.size:
        return np.asarray(rects)
    result = np.empty(rects.shape, [(name, object) for name in (*names, "annopoints")])
    for name in names:
        result[name] = rects[name]
    for i in range(result.size):
        result["annopoints"].flat[i] = np.empty((0, 0))
    return result


def _annopoints(pose: npt.NDArray[np.floating]) -> npt.NDArray[Any]:
    kind = [("x", object), ("y", object), ("id", object)]
    points = np.array([[(x, y, float(i)) for i, (x, y) in enumerate(pose.tolist())]], kind)
    return np.array([[(points,)]], [("point", object)])
