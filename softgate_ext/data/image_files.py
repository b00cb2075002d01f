"""The search for the image files that a dataset names."""

import os
from collections.abc import Sequence
from pathlib import Path

from softgate_ext.data.images import image_size
from softgate_ext.data.outside import check_inside, is_outside, outside_allowed
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted

SAMPLE = 50
"""The number of names that are searched in every place. All names are searched in the best place."""


def find_images(
    names: Sequence[str],
    bases: Sequence[Path],
    subfolders: Sequence[str],
    must_exist: bool = True,
    home: Path | None = None,
    dataset: Path | None = None,
) -> tuple[list[Path], tuple[str, ...]]:
    """Finds image files in the one of several places that holds most of them.

    Names may contain folders. If no place has these folders, leading folders are dropped as long as
    the names stay different. If a name does not exist, a name that differs only in case is taken.

    Args:
        names: the N names in the dataset.
        bases: folders to search.
        subfolders: subfolders of each base to search. Earlier bases, and then earlier subfolders, are
            preferred.
        must_exist: whether a missing image is an error.
        home: the folder that is assumed if no image is found; None for the first place.
        dataset: the folder that names must not lead out of, unless that is allowed (see `outside`);
            None for the first base.

    Returns:
        The N files; and a note if none of them exists.

    Raises:
        InputError: an image is missing, with the number of missing images, the first of them, and the
            searched places; or a name leads out of the dataset.
    """
    wanted = {name: name.replace("\\", "/") for name in names}
    dataset = dataset or bases[0]
    listings = _Listings()
    # Folders above the dataset are not searched themselves, because they may hold anything.
    places = [
        listings.folder(base, subfolder)
        for base in bases
        for subfolder in subfolders
        if subfolder != "." or outside_allowed() or not is_outside(base, dataset)
    ]
    place, drop = _place(list(wanted.values()), places, listings)
    if place is None:
        place = home or bases[0] / subfolders[0]
    wanted = {name: _without_folders(whole, drop) for name, whole in wanted.items()}
    found = {name: listings.find(place, whole) for name, whole in wanted.items()}
    for name, file in found.items():
        leads = file or place / wanted[name]
        if is_outside(leads, place):
            check_inside(leads, dataset, f"image {name}")
    missing = [name for name, file in found.items() if file is None]
    fault = counted(len(missing), f"image[s] of {len(wanted)} [is|are] missing")
    notes: tuple[str, ...] = ()
    if missing and len(missing) == len(wanted):
        looked = f"{', '.join(subfolders)} below {', '.join(map(str, bases))}"
        fault = f"{fault}, first {missing[0]:.500}; looked in {looked}"
        notes = (fault,)
    elif missing:
        fault = f"{fault}, first {missing[0]:.500} in {place}"
    if missing and must_exist:
        raise InputError(f"{fault}; softgate data check lists them")
    return [found[name] or place / wanted[name] for name in names], notes


def image_extent(path: Path, must_exist: bool = True) -> tuple[int, int]:
    """The (width, height) of an image in pixels.

    Returns:
        The result of `image_size`; (1, 1) if the image cannot be read and `must_exist` is False.

    Raises:
        InputError: as in `image_size`, if `must_exist`.
    """
    try:
        return image_size(path)
    except InputError:
        if must_exist:
            raise
        return 1, 1


def _place(
    names: Sequence[str], places: Sequence[Path], listings: "_Listings"
) -> tuple[Path | None, int]:
    """The place that holds most of the names, and the number of leading folders to drop from them.

    If no place holds a name, a place that has the first folder of the names is taken.
    """
    for drop in range(1 + max(name.count("/") for name in names)):
        short = [_without_folders(name, drop) for name in names]
        if len(set(short)) < len(set(names)):
            break  # two images would get the same name
        sample = short[:: 1 + len(short) // SAMPLE]
        counts = [
            sum(listings.find(place, name) is not None for name in sample) for place in places
        ]
        if any(counts):
            return places[counts.index(max(counts))], drop
    first = names[0].split("/")[0]
    return next((place for place in places if listings.find(place, first)), None), 0


def _without_folders(name: str, count: int) -> str:
    return "/".join(name.split("/")[min(count, name.count("/")) :]) if count else name


class _Listings:
    """Listings of folders, each read once, which is faster than a stat for each of many files."""

    def __init__(self) -> None:
        self._held: dict[Path, dict[str, str]] = {}
        self._folders: dict[tuple[Path, str], Path] = {}

    def held(self, folder: Path) -> dict[str, str]:
        """The names in a folder, by the names and by their case-folded forms; empty if it is none."""
        if folder not in self._held:
            try:
                names = sorted(os.listdir(folder))
            except (OSError, ValueError):  # a null character in the name gives a ValueError
                names = []
            self._held[folder] = {name.casefold(): name for name in names} | {
                name: name for name in names
            }
        return self._held[folder]

    def find(self, folder: Path, name: str) -> Path | None:
        """The file with this name, which may contain folders, below `folder`; None without one."""
        head, _, tail = name.rpartition("/")
        folder = self.folder(folder, head + "/" if name.startswith("/") else head)
        held = self.held(folder)
        own = held.get(tail) or held.get(tail.casefold())
        return folder / own if own else None

    def folder(self, start: Path, name: str) -> Path:
        """The folder with this name below `start`; the name is kept if it does not exist."""
        if (start, name) not in self._folders:
            folder = Path("/") if name.startswith("/") else start
            for part in name.split("/"):
                if part == "..":
                    folder = folder.parent
                elif part not in ("", "."):
                    held = self.held(folder)
                    folder /= held.get(part) or held.get(part.casefold(), part)
            self._folders[start, name] = folder
        return self._folders[start, name]
