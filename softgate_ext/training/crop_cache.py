"""The cache of crops of a dataset: its folders, and the lock with which one process fills it."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from softgate_ext.data.augment import Augmentation
from softgate_ext.data.crops import CropCache, CropGeometry, fingerprints, write_crops
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.files.console import say
from softgate_ext.files.folders import make_folder
from softgate_ext.files.lock import FolderLock
from softgate_ext.files.printable import printable


def cached_crops(
    people: PoseSet,
    image_size: int,
    augment: Augmentation | None,
    folder: Path,
    console: Console,
) -> CropCache:
    """Opens the cached crops of `people`, and makes them first unless `folder` has them.

    The crops are stored in a folder of their own, whose name identifies the samples, the geometry and
    the contents of the images. The folder appears when it is complete. If images have changed, new
    crops replace the old ones. Of several processes, one makes the crops and the others wait.

    Args:
        people: the samples.
        image_size: side of a crop, in pixels.
        augment: the augmentation, whose largest scale decides how much is kept around a crop; None
            without augmentation.
        folder: the cache.
        console: where progress is shown.

    Raises:
        InputError: an image is missing or damaged, or `folder` cannot be written to or is full.
    """
    geometry = CropGeometry.of(image_size, augment)
    asked, contents = fingerprints(people, geometry)
    stem = f"{re.sub(r'[^A-Za-z0-9+_-]+', '-', people.name)[:64]}-{image_size}-{asked[:12]}"
    target = folder / f"{stem}-{contents[:16]}"
    found = _open(target)
    if found is not None:
        return found
    make_folder(folder, "cache")
    try:
        lock = FolderLock(folder, "cache")
    except InputError:
        say(console, f"waiting for another process that makes crops in {folder}")
        lock = FolderLock(folder, "cache", wait=True)
    try:
        found = _open(target)
        if found is not None:
            return found
        _remove_older(folder, stem)
        _make(target, people, geometry, console)
    finally:
        lock.release()
    return CropCache(target)


def _open(target: Path) -> CropCache | None:
    try:
        return CropCache(target) if target.is_dir() else None
    except (InputError, OSError):  # the crops are damaged, or the name is too long for the system
        return None


def _make(target: Path, people: PoseSet, geometry: CropGeometry, console: Console) -> None:
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        scratch.mkdir()
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(f"crops of {escape(printable(people.name))}", total=len(people))
            threads = min(8, os.cpu_count() or 1)
            write_crops(scratch, people, geometry, threads, lambda n: bar.update(task, completed=n))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(scratch, target)
    except OSError as error:
        raise InputError(
            f"cache: cannot write the crops of {people.name} to {target.parent} "
            f"({error.strerror or error}); give a folder with more room, or none"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _remove_older(folder: Path, stem: str) -> None:
    """Removes crops of earlier contents and the leftovers of killed processes.

    A folder that cannot be removed, because another process still reads it, stays.
    """
    for old in (*folder.glob(f"{stem}-*"), *folder.glob(f".{stem}-*.tmp")):
        with suppress(OSError):
            shutil.rmtree(old)
