"""Joints in the file formats that people use to exchange them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from softgate_ext.data.join import select_joints
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.joint_files import ORIGINS, read_predictions, write_predictions
from softgate_ext.pose.skeleton import LSP, MPII, Skeleton, name_skeleton

JOINTS = np.random.default_rng(0).uniform(-20, 300, (5, 16, 2))
SCORES = np.random.default_rng(1).random((5, 16))


def hdf5() -> Any:
    return pytest.importorskip("h5py")


def people(count: int = 5, skeleton: Skeleton = MPII) -> PoseSet:
    """People 0.jpg, 1.jpg, ..."""
    flags = np.ones((count, len(skeleton)), bool)
    return PoseSet(
        name="few",
        skeleton=skeleton,
        image_paths=[Path(f"{i}.jpg") for i in range(count)],
        joints=np.zeros((*flags.shape, 2), np.float32),
        labelled=flags,
        visible=flags,
        centers=np.zeros((count, 2), np.float32),
        sizes=np.ones(count, np.float32),
    )


def read(path: Path, origin: int | None = None) -> np.ndarray:
    return read_predictions(path, people(), origin).joints


@pytest.mark.parametrize("suffix", ORIGINS)
def test_what_is_written_comes_back(tmp_path: Path, suffix: str) -> None:
    if suffix in (".h5", ".hdf5"):
        hdf5()
    path = tmp_path / f"ours{suffix}"
    joints = JOINTS.copy()
    joints[2, 3] = np.nan
    write_predictions(path, joints, SCORES, people())
    found = read_predictions(path, people())
    np.testing.assert_allclose(found.joints, joints, atol=1e-9)
    np.testing.assert_array_equal(found.scores, np.where(np.isnan(joints[..., 0]), 0, SCORES))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_matlab_files_hold_matlab_coordinates(tmp_path: Path) -> None:
    write_predictions(tmp_path / "a.mat", JOINTS, SCORES, people())
    stored = scipy.io.loadmat(tmp_path / "a.mat")
    np.testing.assert_allclose(stored["preds"], JOINTS + 1)
    assert [str(name[0]) for name in stored["joint_names"].ravel()] == list(MPII.joints)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1), (2, 0, 1)])
def test_axes_in_any_order(tmp_path: Path, order: tuple[int, int, int]) -> None:
    """Such as (2, 16, N), in which MATLAB and Lua write them."""
    scipy.io.savemat(tmp_path / "a.mat", {"preds": (JOINTS + 1).transpose(order)})
    np.testing.assert_allclose(read(tmp_path / "a.mat"), JOINTS)


@pytest.mark.parametrize(
    ("order", "axis"), [((0, 1, 2), "first"), ((2, 1, 0), "third"), ((0, 2, 1), "first")]
)
def test_as_many_people_as_joints_are_read_as_files_are_written(
    tmp_path: Path, order: tuple[int, int, int], axis: str
) -> None:
    """As they lie, or with all axes reversed; the shape tells no more, which is said."""
    joints = np.random.default_rng(2).uniform(0, 300, (16, 16, 2))
    np.savez(tmp_path / "a.npz", preds=joints.transpose(order))
    found = read_predictions(tmp_path / "a.npz", people(16))
    np.testing.assert_array_equal(found.joints, joints)
    assert f"are ambiguous: the {axis} was taken as people" in found.notes[-1]
    (tmp_path / "a.json").write_text(json.dumps(joints.tolist()))
    assert len(read_predictions(tmp_path / "a.json", people(16)).notes) == 2


@pytest.mark.parametrize("suffix", ORIGINS)
def test_joints_go_by_their_names(tmp_path: Path, suffix: str) -> None:
    if suffix in (".h5", ".hdf5"):
        hdf5()
    path = tmp_path / f"lsp{suffix}"
    joints = JOINTS[:, : len(LSP)]
    write_predictions(path, joints, SCORES[:, : len(LSP)], people(5, LSP))
    found = read_predictions(path, people())
    assert found.skeleton.joints == LSP.joints
    np.testing.assert_allclose(found.joints, select_joints(joints, LSP, MPII))
    other = name_skeleton("doll", [f"joint{i}" for i in range(14)])
    with pytest.raises(InputError, match="joints named right_ankle, .*; takes .*, joint0, joint1"):
        read_predictions(path, people(5, other))


def test_people_go_by_their_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    order = [3, 1, 0, 4, 2]
    write_predictions(path, JOINTS[order], SCORES, people().subset(order))
    np.testing.assert_allclose(read(path), JOINTS)
    np.testing.assert_allclose(read_predictions(path, people(3)).joints, JOINTS[:3])
    found = read_predictions(path, people(6))
    assert np.isnan(found.joints[5]).all()
    assert "1 person of 6 is not in the file, first in 5.jpg: their" in found.notes[-1]


def test_scores_and_other_arrays_are_left_alone(tmp_path: Path) -> None:
    triples = np.concatenate([JOINTS, SCORES[..., None]], -1)
    other = np.zeros((5, 16, 2))
    np.savez(tmp_path / "a.npz", scores=other, preds=triples, centre=np.ones((5, 2)))
    np.testing.assert_allclose(read(tmp_path / "a.npz"), JOINTS)
    np.savez(tmp_path / "b.npz", anything=JOINTS.astype(np.float32).reshape(5, 32))
    np.testing.assert_allclose(read(tmp_path / "b.npz"), JOINTS, atol=1e-4)


def test_origin_of_the_format_of_the_file_and_of_the_caller(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", preds=JOINTS)
    np.savez(tmp_path / "says.npz", preds=JOINTS, origin=1)
    scipy.io.savemat(tmp_path / "plain.mat", {"preds": JOINTS})
    for name, origin, expected in (
        ("plain.npz", None, 0), ("plain.npz", 1, 1), ("says.npz", None, 1), ("says.npz", 0, 0),
        ("plain.mat", None, 1), ("plain.mat", 0, 0),
    ):  # fmt: skip
        found = read_predictions(tmp_path / name, people(), origin)  # type: ignore[arg-type]
        assert found.about["origin"] == expected
        assert found.notes == (
            f"predictions read as {expected}-based",
            "the file names no pictures; its entries are taken to be in the order of the dataset",
        )
        np.testing.assert_allclose(found.joints, JOINTS - expected)


def test_matlab_7_3_is_hdf5(tmp_path: Path) -> None:
    with hdf5().File(tmp_path / "new.mat", "w", userblock_size=512) as store:
        store["preds"] = JOINTS.transpose()
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with open(tmp_path / "new.mat", "r+b") as file:
        file.write(header)
    np.testing.assert_allclose(read(tmp_path / "new.mat"), JOINTS - 1)


def test_a_submission_in_matlab_7_3_is_told_from_one_that_can_be_read(tmp_path: Path) -> None:
    with hdf5().File(tmp_path / "new.h5", "w") as store:
        store["pred/annorect"] = np.zeros(3)
    with pytest.raises(InputError, match="its pred is a struct, .* version 7.3; save it with -v7"):
        read(tmp_path / "new.h5")


def by_name(person: np.ndarray) -> dict[str, Any]:
    joints = {
        n: {"x": x, "y": y, "score": 1} for n, (x, y) in zip(MPII.joints, person, strict=True)
    }
    return {"box_xywh": [0, 0, 9, 9], "joints": dict(reversed(joints.items()))}


def coco(number: int) -> dict[str, Any]:
    flat = np.concatenate([JOINTS[number], np.ones((16, 1))], -1).ravel().tolist()
    return {"image_id": f"{number}.jpg", "category_id": 1, "keypoints": flat, "score": 0.5}


@pytest.mark.parametrize(
    "content",
    [
        JOINTS.tolist(),
        {"preds": JOINTS.tolist()},
        [{"joints": person.tolist()} for person in JOINTS],
        {"people": [{"keypoints": person.tolist()} for person in JOINTS]},
        [coco(number) for number in range(5)],
        {"origin": 1, "predictions": (JOINTS + 1).tolist()},
        [by_name(person) for person in JOINTS],
    ],
    ids=["nested", "named", "joints", "people", "coco", "origin", "by name"],
)
def test_json_of_several_kinds(tmp_path: Path, content: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    np.testing.assert_allclose(read(tmp_path / "a.json"), JOINTS)


def test_joints_that_were_not_found_are_nan(tmp_path: Path) -> None:
    people = JOINTS.tolist()
    people[1][2] = None
    people[3][4] = [None, 5]
    (tmp_path / "a.json").write_text(json.dumps(people))
    missing = np.isnan(read(tmp_path / "a.json"))
    assert missing[1, 2].all() and missing[3, 4].tolist() == [True, False] and missing.sum() == 3


def test_bad_files_are_one_sentence(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", preds=JOINTS)
    whole = (tmp_path / "whole.npz").read_bytes()
    contents: list[tuple[str, bytes | str, str]] = [
        ("a.txt", "", "predictions: got .*a.txt; takes a file ending in .mat"),
        ("cut.npz", whole[:300], "cannot read .*cut.npz"),
        ("text.mat", "text", "cannot read .*text.mat"),
        ("a.json", "[[[1, 2]", "not valid JSON"),
        ("b.json", "3", 'list of {"joints"'),
        ("c.json", '[{"joint": [[1, 2]]}]', "one for each person"),
        ("d.json", "[[[1, 2], [1]], [[1, 2]]]", "one for each person"),
        ("e.json", "{}", "one for each person"),
        ("f.json", '[["a", "b"]]', "one for each person"),
        ("j.json", '[{"people": [{"joints": {"pelvis": 3}}]}]', "one for each person"),
        (
            "g.json",
            "[[[1, 2]]]",
            "1 entry with another number of joints than 16 is left out: number 1",
        ),
        ("h.json", json.dumps({"origin": "x", "preds": JOINTS.tolist()}), "origin in .* 0 or 1"),
        ("i.json", "[]", "i.json holds no entries; takes a list of"),
        (
            "k.json",
            json.dumps(JOINTS[:4].tolist()),
            r"5 people with 16 joints, .* \(5, 16, 2\), got",
        ),
    ]
    if hdf5():
        contents.append(("text.h5", "text", "cannot read .*text.h5"))
    for name, content, message in contents:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="there is no file .*absent.npz"):
        read(tmp_path / "absent.npz")
    with pytest.raises(InputError, match=r"5 people with 14 joints, .* got preds \(5, 16, 2\)"):
        read_predictions(tmp_path / "whole.npz", people(5, LSP))
    with pytest.raises(InputError, match="save_predictions: got .*a.txt"):
        write_predictions(tmp_path / "a.txt", JOINTS, SCORES, people())


def test_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_predictions(tmp_path / "a.json", JOINTS, SCORES, people(2))
    with pytest.raises(InputError, match="cannot write"):
        write_predictions(tmp_path / "absent" / "a.npz", JOINTS, SCORES, people())
    assert not list(tmp_path.iterdir())


def test_names_that_are_called_otherwise_are_not_passed_over(tmp_path: Path) -> None:
    names = np.array([f"{i}.png" for i in range(len(JOINTS))])
    np.savez(tmp_path / "odd.npz", preds=JOINTS, whose=names)
    with pytest.raises(InputError, match=r"has \d+ values called whose, such as 0.png, which may"):
        read_predictions(tmp_path / "odd.npz", people())
