"""The note on images that are in both the training and the test part."""

from functools import lru_cache
from pathlib import Path

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
