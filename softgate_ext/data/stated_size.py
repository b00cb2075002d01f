"""Images whose size differs from the size that the annotation file states.

The joints of such an image were labelled before it was turned, resized or cropped. Their positions in
the present image cannot be known, so its people are left out.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.data.images import image_size, is_sideways
from softgate_ext.data.poseset import EmptySplit, PoseSet
from softgate_ext.files.counted import counted


def contradiction(path: Path, stated: npt.NDArray[np.float32], size: tuple[int, int]) -> str | None:
    """A message if an image has another size than stated, else None.

    Args:
        path: the image.
        stated: (2,), width and height in the annotation file; NaN if it does not state them. They are
            rounded, because some tools write the size of a scaled image, such as 120.4.
        size: width and height of the image as `read_image` reads it.
    """
    if np.isnan(stated).any():
        return None
    width, height = np.rint(stated).astype(int).tolist()
    if (width, height) == size:
        return None
    if (height, width) != size:
        why = "resized or cut after labelling"
    elif is_sideways(path):
        why = "turned by its EXIF orientation, unlike in labelling"
    else:
        why = "turned after labelling"
    return (
        f"{path} is {size[0]} x {size[1]} but the dataset states {width} x {height}: it was {why}, so "
        "that its joints lie elsewhere"
    )


def without_contradicted(people: PoseSet) -> PoseSet:
    """The samples whose images have the stated size, with a note on those that are left out.

    Only the headers of the images are read, which takes 0.3 ms per image.

    Raises:
        InputError: an image cannot be read, or no sample is left.
    """
    if people.stated_sizes is None:
        return people
    known: dict[Path, tuple[int, int]] = {}
    wrong: dict[Path, str] = {}
    kept = []
    for i, (path, stated) in enumerate(zip(people.image_paths, people.stated_sizes, strict=True)):
        if np.isfinite(stated).all():
            size = known[path] if path in known else known.setdefault(path, image_size(path))
            fault = contradiction(path, stated, size)
            if fault is not None:
                wrong.setdefault(path, fault)
                continue
        kept.append(i)
    if not wrong:
        return people
    said = (
        f"{counted(len(people) - len(kept), 'sample[s] [is|are] left out')}, because "
        f"{counted(len(wrong), 'picture[s] [has|have]')} another size than stated: {next(iter(wrong.values()))}"
    )
    if not kept:
        raise EmptySplit(f"{people.name} is empty", notes=(*people.notes, said))
    return replace(people.subset(kept), notes=(*people.notes, said))
