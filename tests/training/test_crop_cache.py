import errno
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from softgate_ext.data import crops as crops_module
from softgate_ext.data.augment import Augmentation
from softgate_ext.data.lsp import read_lsp
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.training import crop_cache
from softgate_ext.training.crop_cache import cached_crops

QUIET = Console(quiet=True)


@pytest.fixture
def own(people: Path, tmp_path: Path) -> PoseSet:
    """People in pictures that a test may change."""
    return read_lsp(shutil.copytree(people, tmp_path / "people"), "all")


def get(people: PoseSet, folder: Path, image_size: int = 64) -> Any:
    return cached_crops(people, image_size, Augmentation(), folder, QUIET)


def test_crops_are_made_once(own: PoseSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = get(own, tmp_path / "cache")
    assert len(first) == len(own)
    monkeypatch.setattr(crop_cache, "write_crops", None)  # to be called no more
    assert get(own, tmp_path / "cache").folder == first.folder
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.folder.name]


def test_crops_in_a_folder_that_cannot_be_written_are_used(
    own: PoseSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = get(own, tmp_path / "cache")
    monkeypatch.setattr(crop_cache, "make_folder", None)  # which would refuse the folder
    assert get(own, tmp_path / "cache").folder == first.folder


def test_changed_pictures_are_made_anew_and_other_sizes_beside(
    own: PoseSet, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first, small = get(own, cache), get(own, cache, 32)
    own.image_paths[0].write_bytes(own.image_paths[1].read_bytes())
    second = get(own, cache)
    assert second.folder != first.folder and not first.folder.exists()
    assert (second[0][0] == second[1][0]).all()
    assert small.folder.exists()
    assert first[3][0].shape == second[3][0].shape  # who has the old ones open still reads them


def test_damaged_crops_are_made_anew(own: PoseSet, tmp_path: Path) -> None:
    first = get(own, tmp_path / "cache")
    pixels = first.folder / crops_module.PIXELS
    expected = pixels.read_bytes()
    pixels.unlink()
    pixels.write_bytes(expected[: len(expected) // 2])
    assert get(own, tmp_path / "cache").folder == first.folder
    assert pixels.read_bytes() == expected


def die(people: PoseSet, folder: Path) -> None:
    """Makes crops, and is gone in the middle."""
    genuine, made = crop_cache.write_crops, []

    def deadly(*arguments: Any) -> None:
        def last(done: int) -> None:
            made.append(done)
            os.kill(os.getpid(), 9)

        genuine(*arguments[:-1], last)

    crop_cache.write_crops = deadly  # type: ignore[assignment]
    get(people, folder)


def test_a_killed_process_leaves_nothing_that_is_believed(own: PoseSet, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = multiprocessing.get_context("fork").Process(target=die, args=(own, cache))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    (leftover,) = cache.iterdir()
    assert leftover.name.endswith(".tmp") and (leftover / crops_module.PIXELS).stat().st_size > 0
    crops = get(own, cache)
    assert list(cache.iterdir()) == [crops.folder] and len(crops) == len(own)


def ask(people: PoseSet, folder: Path, results: Any) -> None:
    made = []
    genuine = crop_cache.write_crops
    crop_cache.write_crops = lambda *a: (made.append(1), genuine(*a))[1]  # type: ignore[assignment]
    results.put((str(get(people, folder).folder), len(made)))


def test_of_several_processes_one_makes_the_crops(own: PoseSet, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [
        context.Process(target=ask, args=(own, tmp_path / "cache", results)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert len({folder for folder, _ in answers}) == 1
    assert sum(made for _, made in answers) == 1


def test_a_full_disc_is_one_sentence(
    own: PoseSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(crops_module.os, "fsync", full)
    with pytest.raises(
        InputError, match=r"^cache: cannot write the crops .*No space left"
    ) as error:
        get(own, tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_sentence(own: PoseSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cache: cannot write to the folder"):
        get(own, tmp_path / "file")


def test_a_damaged_picture_is_named_and_nothing_kept(own: PoseSet, tmp_path: Path) -> None:
    own.image_paths[5].write_bytes(own.image_paths[5].read_bytes()[:-300])
    with pytest.raises(InputError, match=f"{own.image_paths[5].name} is damaged or cut short"):
        get(own, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
