"""Where the pictures that a dataset names lie."""

import os
from collections.abc import Sequence
from pathlib import Path

from softgate_ext.data.images import image_size
from softgate_ext.data.outside import check_inside, is_outside, outside_allowed
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted

SAMPLE = 50
"""Names that are looked for in every place; the whole set only in the one that is chosen."""


def find_images(
    names: Sequence[str],
    bases: Sequence[Path],
    subfolders: Sequence[str],
    must_exist: bool = True,
    home: Path | None = None,
    dataset: Path | None = None,
) -> tuple[list[Path], tuple[str, ...]]:
    """The files of pictures, in that of several folders which holds most of them.

    Names may lead through folders; where no place has these, their first folders are dropped, as
    long as the names stay different. Of a name that is not there, the one that differs from it in
    the case of its letters is taken.

    Args:
        names: N names as the dataset has them.
        bases: Folders to look in ...
        subfolders: ... by way of each of these; earlier ones are preferred, those of the first base
            before those of the next.
        must_exist: Whether a missing picture is an error.
        home: Where they would be if none is anywhere; by default in the first place.
        dataset: The folder that names do not lead out of unless that is allowed (see `outside`); by
            default the first base.

    Returns:
        N files, and a sentence where none of them is there.

    Raises:
        InputError: A picture is missing, and then says how many are, the first, and where it looked;
            or a name leads out of the dataset.
    """
    wanted = {name: name.replace("\\", "/") for name in names}
    dataset = dataset or bases[0]
    listings = _Listings()
    # Folders above the dataset are not searched as a whole, since anything may lie there.
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
    """(width, height) as `image_size` has it; (1, 1) of one that cannot be read and need not exist.

    Raises:
        InputError: As `image_size`.
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
    """The folder that holds most of the names, and how many of their own folders to drop there.

    Where there is none, one that holds the first folder of the names.
    """
    for drop in range(1 + max(name.count("/") for name in names)):
        short = [_without_folders(name, drop) for name in names]
        if len(set(short)) < len(set(names)):
            break  # two pictures would become one
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
    """What folders hold, each listed once: quicker than a stat for each of thousands of files."""

    def __init__(self) -> None:
        self._held: dict[Path, dict[str, str]] = {}
        self._folders: dict[tuple[Path, str], Path] = {}

    def held(self, folder: Path) -> dict[str, str]:
        """The names in a folder by themselves and by their lower case; empty where it is none."""
        if folder not in self._held:
            try:
                names = sorted(os.listdir(folder))
            except (OSError, ValueError):  # the latter of a name with a zero byte
                names = []
            self._held[folder] = {name.casefold(): name for name in names} | {
                name: name for name in names
            }
        return self._held[folder]

    def find(self, folder: Path, name: str) -> Path | None:
        """The file of this name, which may lead through folders, from `folder`."""
        head, _, tail = name.rpartition("/")
        folder = self.folder(folder, head + "/" if name.startswith("/") else head)
        held = self.held(folder)
        own = held.get(tail) or held.get(tail.casefold())
        return folder / own if own else None

    def folder(self, start: Path, name: str) -> Path:
        """The folder of this name from `start`; as it is called where it is not there."""
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
