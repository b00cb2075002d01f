"""Images of the test part that are in the training part too, or nearly repeat one of them."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.data.poseset import PoseSet
from softgate_ext.files.counted import counted
from softgate_ext.files.paths import real_path


def shared_pictures(train: PoseSet, test: PoseSet) -> tuple[str, ...]:
    """A note if both parts have samples in the same images; else empty.

    Links to folders are resolved before paths are compared.
    """
    real = lru_cache(None)(real_path)

    def files(people: PoseSet) -> dict[Path, None]:
        return dict.fromkeys(real(path.parent) / path.name for path in people.image_paths)

    known = files(train)
    both = [path for path in files(test) if path in known]
    if not both:
        return ()
    return (
        f"{counted(len(both), 'picture[s] [is|are]')} in the train part and in the test part, so that "
        f"results are better than on new pictures; the first is {both[0]}",
    )


# Leeds Sports Pose, test image and training image: the same athlete a moment apart, found by eye.
_LSP = {1211: 483, 1233: 535, 1366: 550, 1436: 492, 1622: 371}


def near_copies(train: PoseSet, test: PoseSet) -> npt.NDArray[np.intp]:
    """The positions of the test samples whose image nearly repeats one of the training part.

    They are known for the official Leeds Sports Pose, which is recognised by its numbers of samples
    and by the names of its images; for other datasets the result is empty.
    """
    numbers = [path.stem.lower() for path in test.image_paths]
    official = [f"im{number:04d}" for number in range(1001, 2001)]
    if len(train) != 1000 or numbers != official or len(test.skeleton) != 14:
        return np.empty(0, np.intp)
    return np.array([number - 1001 for number in _LSP])
