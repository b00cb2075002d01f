from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from softgate_ext.cli import main
from softgate_ext.data.lsp import read_lsp
from softgate_ext.errors import InputError
from softgate_ext.pose.metrics import (
    joint_distance,
    mean_pose,
    normalized_distances,
    pck_of,
    place_pose,
)


def write_folder(root: Path, joints: np.ndarray, digits: int = 4) -> Path:
    """A dataset folder with empty 60 x 90 images."""
    (root / "images").mkdir(parents=True)
    for i in range(joints.shape[-1]):
        cv2.imwrite(
            str(root / "images" / f"im{i + 1:0{digits}d}.jpg"), np.zeros((90, 60, 3), np.uint8)
        )
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    return root


def numbers(people: int = 5) -> np.ndarray:
    """(N, 14, 3) 1-based positions and flags, all different."""
    rng = np.random.default_rng(0)
    return np.concatenate(
        [rng.uniform(1, 60, (people, 14, 2)), rng.integers(0, 2, (people, 14, 1))], -1
    )


def test_lsp_layout_third_row_is_occlusion(tmp_path: Path) -> None:
    people = numbers()
    found = read_lsp(write_folder(tmp_path / "a", people.transpose(2, 1, 0)), "all")
    np.testing.assert_allclose(found.joints, people[..., :2] - 1, rtol=1e-6)
    assert found.labelled.all()
    np.testing.assert_array_equal(found.visible, people[..., 2] == 0)


def test_lsp_extended_layout_third_column_is_labelled(tmp_path: Path) -> None:
    people = numbers()
    found = read_lsp(write_folder(tmp_path / "a", people.transpose(1, 2, 0), digits=5), "all")
    np.testing.assert_allclose(found.joints, people[..., :2] - 1, rtol=1e-6)
    np.testing.assert_array_equal(found.labelled, people[..., 2] == 1)
    np.testing.assert_array_equal(found.visible, found.labelled)


def test_crops_of_lsp_extended_close_in_on_the_labelled_joints(tmp_path: Path) -> None:
    people = numbers(3)
    people[..., 2] = 1
    people[0, :, :2] = np.linspace((11, 31), (41, 51), 14)  # 30 x 20 pixels about (25, 40)
    people[1, :, 2] = 0  # nothing to go by
    people[2, :, :2] = np.linspace((11, 31), (41, 51), 14)
    people[2, 1] = 500, 500, 0  # far outside, but not labelled
    found = read_lsp(write_folder(tmp_path / "a", people.transpose(1, 2, 0), digits=5), "train")
    np.testing.assert_allclose(found.centers, [[25, 40], [29.5, 44.5], [25, 40]], rtol=1e-6)
    np.testing.assert_allclose(found.sizes, [45, 90, 45], rtol=1e-6)


def test_splits_and_crops(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "a", numbers().transpose(2, 1, 0))
    train, test, everybody = (read_lsp(root, split) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(everybody)) == (2, 3, 5)
    assert train.image_paths + test.image_paths == everybody.image_paths
    np.testing.assert_array_equal(np.concatenate([train.joints, test.joints]), everybody.joints)
    assert everybody.centers[0].tolist() == [29.5, 44.5]
    assert everybody.sizes.tolist() == [90] * 5
    assert {everybody.joints.dtype, everybody.centers.dtype, everybody.sizes.dtype} == {
        np.dtype(np.float32)
    }
    part = everybody.subset([3, 1])
    assert [path.name for path in part.image_paths] == ["im0004.jpg", "im0002.jpg"]
    np.testing.assert_array_equal(part.joints, everybody.joints[[3, 1]])


def test_pictures_of_another_form_and_case(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "a", numbers().transpose(2, 1, 0))
    for i, name in enumerate(("im0001.JPG", "im0002.png", "IM0003.PNG", "im0004.jpeg"), 1):
        path = root / "images" / f"im{i:04d}.jpg"
        cv2.imwrite(str(root / "images" / name), cv2.imread(str(path)))
        path.unlink()
    found = read_lsp(root, "all")
    assert [path.name for path in found.image_paths] == [
        "im0001.JPG", "im0002.png", "IM0003.PNG", "im0004.jpeg", "im0005.jpg",
    ]  # fmt: skip
    assert found.sizes.tolist() == [90] * 5 and not found.notes
    assert main(["data", "check", str(root), "--sheet", str(tmp_path / "sheet.png")]) == 0


def test_pictures_beside_the_released_ones_are_left_out(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "a", numbers().transpose(2, 1, 0))
    for name in ("im0006.jpg", "im0002.png", "overview.jpg"):
        (root / "images" / name).write_bytes((root / "images" / "im0001.jpg").read_bytes())
    (root / "images" / "Thumbs.db").touch()
    found = read_lsp(root, "all")
    assert [path.name for path in found.image_paths] == [f"im000{i}.jpg" for i in range(1, 6)]
    assert main(["data", "check", str(root), "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert found.notes == (f"3 more pictures are left out in {root / 'images'}",)


def test_hr_lspet_has_png_beside_the_joints_and_gaps_in_its_numbers(tmp_path: Path) -> None:
    root, people = tmp_path / "a", numbers()
    root.mkdir()
    people[..., 2] = 1
    scipy.io.savemat(root / "joints.mat", {"joints": people.transpose(1, 2, 0)})
    for number in (2, 3, 10, 11, 500):
        cv2.imwrite(str(root / f"im{number:05d}.png"), np.zeros((90, number + 60, 3), np.uint8))
    found = read_lsp(root)
    assert [path.name for path in found.image_paths] == [
        "im00002.png", "im00003.png", "im00010.png", "im00011.png", "im00500.png",
    ]  # fmt: skip
    np.testing.assert_allclose(found.joints, people[..., :2] - 1, rtol=1e-6)
    assert "gaps" in found.notes[0]
    assert main(["data", "check", str(root), "--sheet", str(tmp_path / "sheet.png")]) == 0
    (root / "im00003.png").unlink()  # now nobody can tell whose picture is gone
    with pytest.raises(InputError, match="4 are missing, first im00001.jpg"):
        read_lsp(root)


def no_folder(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def no_joints(root: Path) -> None:
    (root / "joints.mat").unlink()


def no_images(root: Path) -> None:
    (root / "images").rename(root / "pictures")


def one_image_missing(root: Path) -> None:
    (root / "images" / "im0003.jpg").unlink()


def an_image_without_content(root: Path) -> None:
    (root / "images" / "im0001.jpg").write_bytes(b"")


def no_mat_file(root: Path) -> None:
    (root / "joints.mat").write_bytes(b"joints")


def truncated_mat_file(root: Path) -> None:
    contents = (root / "joints.mat").read_bytes()
    (root / "joints.mat").write_bytes(contents[: len(contents) // 2])


def replaced(joints: object, name: str = "joints") -> Callable[[Path], None]:
    return lambda root: scipy.io.savemat(root / "joints.mat", {name: joints})


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (no_folder, "dataset folder .*/a does not exist"),
        (no_joints, "joints.mat does not exist"),
        (
            no_images,
            "/a/images and .*/a must hold one image for .*, but 5 are missing, first im0001.jpg",
        ),
        (one_image_missing, "each of 5 samples in joints.mat, but 1 is missing, first im0003.jpg"),
        (an_image_without_content, "im0001.jpg is not a picture"),
        (no_mat_file, "joints.mat is not a readable MATLAB file"),
        (truncated_mat_file, "joints.mat is not a readable MATLAB file"),
        (replaced(np.zeros((3, 14, 5)), "points"), "a variable named joints"),
        (replaced(np.zeros((3, 16, 5))), r"\(3, 14, N\).*\(14, 3, N\).*got \(3, 16, 5\)"),
        (replaced(np.zeros((3, 14))), r"got \(3, 14\)"),
        (replaced(np.full((3, 14, 5), np.nan)), "must be finite"),
        (replaced(np.full((3, 14, 5), 2.0)), "must be 0 or 1"),
        (replaced(np.full((3, 14, 5), "a")), "must be numbers"),
        (replaced(np.ones((3, 14, 5), complex) * 1j), "must be real numbers, got complex128"),
        (replaced(np.zeros((3, 14, 0))), "is empty"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_folders_are_one_sentence(
    tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    root = write_folder(tmp_path / "a", numbers().transpose(2, 1, 0))
    damage(root)
    with pytest.raises(InputError, match=sentence) as error:
        read_lsp(root, "train")
    assert "\n" not in str(error.value)


def test_unsigned_joints_do_not_wrap(tmp_path: Path) -> None:
    joints = np.zeros((3, 14, 4), np.uint8)
    people = read_lsp(write_folder(tmp_path / "a", joints), "all")
    assert (people.joints == -1).all()


def test_unknown_and_empty_splits(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "a", numbers(1).transpose(2, 1, 0))
    with pytest.raises(InputError, match="split must be one of train, test, all, got 'val'"):
        read_lsp(root, "val")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'train' of .* is empty: the dataset has only 1 sample"):
        read_lsp(root, "train")
    assert len(read_lsp(root, "test")) == 1


def test_the_official_files(shared_data: Path) -> None:
    train, test = (read_lsp(shared_data / "lsp_dataset", split) for split in ("train", "test"))
    assert len(train) == len(test) == 1000
    assert train.image_paths[0].name == "im0001.jpg" and test.image_paths[0].name == "im1001.jpg"
    with np.load(shared_data / "reference_predictions" / "lsp_test_pc.npz") as published:
        np.testing.assert_allclose(test.joints + 1, published["gt_pc"], atol=1e-4)
    assert 0.92 < np.concatenate([train.visible, test.visible]).mean() < 0.94


def test_lsp_extended(shared_data: Path) -> None:
    root = shared_data / "lspet_dataset"
    if not root.is_dir():
        pytest.skip(f"needs LSP-extended at {root}")
    everybody = read_lsp(root, "all")
    assert len(everybody) == 10_000
    assert 0.85 < everybody.labelled.mean() < 0.9
    inside = (everybody.joints > -1).all(-1) & (
        everybody.joints < everybody.sizes[:, None, None] + 1
    ).all(-1)
    assert inside[everybody.labelled].mean() > 0.999


def test_the_mean_pose_of_lsp_knows_little(shared_data: Path) -> None:
    """The constant predictor, which a model has to beat by far."""
    train, test = (read_lsp(shared_data / "lsp_dataset", split) for split in ("train", "test"))
    pose = mean_pose(train.joints, train.labelled, train.centers, train.sizes)
    predicted = place_pose(pose, test.centers, test.sizes)
    length = joint_distance(test.joints, (9, 2))
    result = pck_of(normalized_distances(predicted, test.joints, test.labelled, length), 0.2)
    print(f"\nmean pose: PCK@0.2 pooled {result.pooled:.2f} mean {result.mean:.2f}")
    assert 10 < result.pooled < 30
