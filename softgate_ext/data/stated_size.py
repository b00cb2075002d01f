"""Pictures whose size is not the one that the dataset's own file states.

Their joints were placed on another picture: one not yet turned, resized or cut. Where the joints lie
in this one cannot be known, so that its people are left out.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.data.images import image_size, is_sideways
from softgate_ext.data.poseset import EmptySplit, PoseSet
from softgate_ext.files.counted import counted


def contradiction(path: Path, stated: npt.NDArray[np.float32], size: tuple[int, int]) -> str | None:
    """What is wrong with a picture of this width and height; None where nothing is.

    Args:
        path: The picture.
        stated: (2,) width and height of the annotation file, NaN where it states none. Whole pixels
            count, since some tools write the size of a picture that was scaled, such as 120.4.
        size: As `read_image` gives the picture.
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
    """Those in pictures of the stated size; the notes tell how many are left out.

    It reads the headers of the pictures alone: 0.3 ms each.

    Raises:
        InputError: A picture cannot be read, or nobody is left.
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
