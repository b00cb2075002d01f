import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from official import picture
from torch.utils.data import DataLoader

from softgate_ext.data.augment import Augmentation
from softgate_ext.data.crops import (
    INDEX,
    PIXELS,
    CropCache,
    CropGeometry,
    fingerprints,
    write_crops,
)
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.lsp import read_lsp
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import Skeleton

DOT = Skeleton("dot", ("dot",), (), ())


def pose_set(paths: list[Path], joints: list, centers: list, sizes: list) -> PoseSet:
    count = len(paths)
    return PoseSet(
        "some", DOT, paths, np.array(joints, np.float32).reshape(count, 1, 2),
        np.ones((count, 1), bool), np.ones((count, 1), bool), np.array(centers, np.float32),
        np.array(sizes, np.float32),
    )  # fmt: skip


@pytest.fixture
def large(tmp_path: Path) -> PoseSet:
    """Three people in two pictures of 900 x 700; the middle one's picture comes twice."""
    for i in (1, 2):
        picture(tmp_path / f"{i}.png", 900, 700, seed=i)
    one, two = tmp_path / "1.png", tmp_path / "2.png"
    spots = [[450, 350], [100, 80], [850, 600]]
    return pose_set([one, two, one], spots, spots, [500, 330, 700])


def kept(people: PoseSet, folder: Path, geometry: CropGeometry) -> CropCache:
    folder.mkdir()
    write_crops(folder, people, geometry, threads=2)
    return CropCache(folder)


def test_crops_from_the_cache_look_as_those_from_the_pictures(
    large: PoseSet, tmp_path: Path
) -> None:
    """Also where they are magnified, rotated, mirrored and reach over the border."""
    augment = Augmentation()
    crops = kept(large, tmp_path / "kept", CropGeometry.of(64, augment))
    assert max(crops[i][0].shape[0] for i in range(3)) < 700 / 4  # far fewer pixels
    fresh, cached = PoseDataset(large, 64, augment), PoseDataset(large, 64, augment, crops=crops)
    for epoch in range(8):
        for dataset in (fresh, cached):
            dataset.set_epoch(epoch)
        for i in range(3):
            a, b = fresh[i], cached[i]
            assert all(torch.equal(a[key], b[key]) for key in a if key != "image")
            difference = (a["image"].float() - b["image"].float()).abs()
            # Smooth pictures: but for the edge against the grey border, next to nothing differs.
            assert difference.mean() < 1 and difference.flatten().quantile(0.97) < 4


def test_small_pictures_are_kept_as_they_are(drawn: Path, tmp_path: Path) -> None:
    people = read_lsp(drawn, "all")
    augment = Augmentation(colour=0)
    crops = kept(people, tmp_path / "kept", CropGeometry.of(256, augment))
    fresh, cached = PoseDataset(people, 256, augment), PoseDataset(people, 256, augment, 0, crops)
    for i in range(len(people)):
        difference = (fresh[i]["image"].int() - cached[i]["image"].int()).abs()
        assert difference.max() <= 2  # rounding of the affine in OpenCV's fixed-point numbers


def test_the_matrix_of_a_kept_crop_is_exact(tmp_path: Path) -> None:
    """A blob's centre of mass is where the affine takes it."""
    y, x = np.mgrid[:600, :800]
    blob = 255 * np.exp(-((x - 300.3) ** 2 + (y - 220.7) ** 2) / (2 * 12.0**2))
    cv2.imwrite(str(tmp_path / "a.png"), np.repeat(blob[..., None], 3, 2).astype(np.uint8))
    people = pose_set([tmp_path / "a.png"], [[300.3, 220.7]], [[290, 230]], [400])
    pixels, matrix = kept(people, tmp_path / "kept", CropGeometry(64, 1.5))[0]
    mass = pixels[..., 0].astype(float)
    v, u = np.mgrid[: mass.shape[0], : mass.shape[1]]
    found = np.array([(u * mass).sum(), (v * mass).sum()]) / mass.sum()
    expected = matrix[:, :2] @ (300.3, 220.7) + matrix[:, 2]
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert matrix[0, 0] == pytest.approx(1.25 * 64 / 400, rel=0.02)


def test_room_is_what_the_augmentation_can_ask_for(large: PoseSet) -> None:
    assert CropGeometry.of(64).room == 1
    assert CropGeometry.of(64, Augmentation(0, 0)).room == 1
    assert CropGeometry.of(64, Augmentation(0.5, 0)).room == 2
    for rotation in (45, 90, 180):
        assert CropGeometry.of(64, Augmentation(0, rotation)).room == pytest.approx(2**0.5)


def test_loaders_of_every_kind_give_the_same(large: PoseSet, tmp_path: Path) -> None:
    crops = kept(large, tmp_path / "kept", CropGeometry.of(48, Augmentation()))
    dataset = PoseDataset(large, 48, Augmentation(), 0, crops)
    (alone,) = DataLoader(dataset, 3)
    (forked,) = DataLoader(dataset, 3, num_workers=1)
    assert torch.equal(alone["image"], forked["image"])
    copy = pickle.dumps(dataset)  # as for a worker that is spawned
    assert len(copy) < 10_000
    assert torch.equal(pickle.loads(copy)[1]["image"], dataset[1]["image"])


def test_fingerprints_follow_pictures_places_and_geometry(large: PoseSet) -> None:
    geometry = CropGeometry(64, 1.5)
    asked, contents = fingerprints(large, geometry)
    assert (asked, contents) == fingerprints(large, CropGeometry(64, 1.5))
    for other in (CropGeometry(32, 1.5), CropGeometry(64, 1.4)):
        assert fingerprints(large, other)[0] != asked
    large.sizes[0] += 1
    moved = fingerprints(large, geometry)
    assert moved[0] == asked and moved[1] != contents
    picture(large.image_paths[0], 901, 700)
    assert fingerprints(large, geometry)[1] != moved[1]
    large.image_paths[0].unlink()
    with pytest.raises(InputError, match="1.png does not exist"):
        fingerprints(large, geometry)


def test_damaged_crops_are_one_sentence(large: PoseSet, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    crops = kept(large, folder, CropGeometry(64))
    with pytest.raises(InputError, match="crops must hold 2 samples, .*, got 3"):
        PoseDataset(large.subset([0, 1]), 64, crops=crops)
    whole = (folder / PIXELS).read_bytes()
    for damage in (whole[:-1], b""):
        (folder / PIXELS).write_bytes(damage)
        with pytest.raises(InputError, match="crops in .* (are incomplete|cannot be read)"):
            CropCache(folder)
    (folder / PIXELS).write_bytes(whole)
    (folder / INDEX).write_bytes((folder / INDEX).read_bytes()[:-40])
    with pytest.raises(InputError, match="crops in .* cannot be read"):
        CropCache(folder)
    (folder / INDEX).unlink()
    with pytest.raises(InputError, match="crops in .* cannot be read"):
        CropCache(folder)
