import json
from pathlib import Path

import numpy as np
import pytest
from official import coco, point, rect, write_coco, write_flic, write_mpii

from softgate_ext.data.augment import Augmentation
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.formats import open_dataset, recognise
from softgate_ext.data.join import join, to_skeleton
from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import FLIC, LSP, MPII, Skeleton


def two_mpii(root: Path) -> Path:
    people = [rect([point(i, 20 + 3 * i, 30) for i in range(16)])]
    return write_mpii(root, [(f"00000000{i}.jpg", people, 1) for i in (1, 2)])


def test_each_format_is_recognised(drawn: Path, tmp_path: Path) -> None:
    flic, mpii = write_flic(tmp_path / "flic"), two_mpii(tmp_path / "mpii")
    file = write_coco(
        tmp_path / "coco" / "annotations" / "x.json",
        coco([{"keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0]}]),
    )
    mat = mpii / "mpii_human_pose_v1_u12_1.mat"
    for path, kind in (
        (drawn, "lsp"), (drawn / "joints.mat", "lsp"), (flic, "flic"),
        (flic / "examples.mat", "flic"), (mpii, "mpii"), (mat, "mpii"), (file, "coco"),
        (tmp_path / "coco", "coco"),
    ):  # fmt: skip
        source = recognise(path)
        assert source.format == kind
        people = source.read(source.splits[0])
        assert len(people) == len(open_dataset(path, source.splits[0]))
        assert all(image.is_file() for image in people.image_paths)


def test_a_folder_with_a_file_for_each_part(tmp_path: Path) -> None:
    contents = coco([{"keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0]}])
    for part in ("train2017", "val2017"):
        write_coco(tmp_path / "annotations" / f"person_keypoints_{part}.json", contents, part)
        (tmp_path / "annotations" / f"captions_{part}.json").write_text("{}")
    train, test, both = (open_dataset(tmp_path, split) for split in ("train", "test", "all"))
    assert [path.parent.name for path in both.image_paths] == ["train2017", "val2017"]
    assert train.image_paths + test.image_paths == both.image_paths
    write_coco(tmp_path / "annotations" / "person_keypoints_more.json", contents)
    assert len(open_dataset(tmp_path)) == 1
    write_coco(tmp_path / "annotations" / "person_keypoints_train1.json", contents)
    with pytest.raises(
        InputError, match="one annotation file with train in its name and one with val"
    ):
        open_dataset(tmp_path)


def test_what_is_not_known_is_one_sentence(tmp_path: Path) -> None:
    def refused(path: Path, words: str) -> None:
        with pytest.raises(InputError, match=words) as error:
            open_dataset(path)
        assert "\n" not in str(error.value)

    refused(tmp_path / "absent", "^path: got .*absent, which does not exist; takes the folder")
    refused(tmp_path / ("a" * 300), "^path: cannot look into .*name too long.*; takes")
    refused(tmp_path, "must hold joints.mat .* mpii_human_pose_v1_u12_1.mat .* examples.mat")
    (tmp_path / "notes.txt").write_text("people")
    refused(tmp_path / "notes.txt", "not a known annotation file")
    (tmp_path / "a.json").write_text(json.dumps({"a": 1}))
    refused(tmp_path / "a.json", "a.json is not a known annotation file")
    (tmp_path / "b.json").write_text(json.dumps({"images": []}))
    refused(tmp_path / "b.json", "must be an object with images and annotations")
    (tmp_path / "b.json").write_text(json.dumps([{"file": "a.jpg"}]))  # a.json is none either
    refused(tmp_path, "must hold joints.mat")
    with pytest.raises(InputError, match="split must be one of train, test, all, got 'val'"):
        open_dataset(tmp_path, "val")  # type: ignore[arg-type]


def test_joined_sets_share_joints_by_name(drawn: Path, tmp_path: Path) -> None:
    sets = [
        open_dataset(drawn),
        open_dataset(two_mpii(tmp_path / "mpii")),
        open_dataset(write_flic(tmp_path / "flic")),
    ]
    everybody = join(sets)
    names = everybody.skeleton.joints
    assert len(everybody) == 6 + 2 + 2 and everybody.skeleton.name == "lsp+mpii+flic"
    for part, start, skeleton in zip(sets, (0, 6, 8), (LSP, MPII, FLIC), strict=True):
        rows = slice(start, start + len(part))
        for j, name in enumerate(names):
            labelled = everybody.labelled[rows, j]
            if name in skeleton.joints:
                own = skeleton.index(name)
                np.testing.assert_array_equal(labelled, part.labelled[:, own])
                np.testing.assert_array_equal(everybody.joints[rows, j], part.joints[:, own])
            else:
                assert not labelled.any()
    assert everybody.head_boxes is not None and everybody.torso_boxes is not None
    assert np.isnan(everybody.head_boxes).all(1).tolist() == [True] * 6 + [False] * 2 + [True] * 2
    back = to_skeleton(everybody.subset(range(6)), LSP)
    np.testing.assert_array_equal(back.joints, sets[0].joints)
    assert join(sets[:1]) is sets[0]


def test_mirrored_crops_of_joined_sets_name_the_right_joints(drawn: Path, tmp_path: Path) -> None:
    everybody = join([open_dataset(drawn), open_dataset(write_flic(tmp_path))])
    names = everybody.skeleton.joints
    mirrored = PoseDataset(everybody, 64, Augmentation(0, 0, 1, 0))
    plain = PoseDataset(everybody, 64)
    swap = {"left": "right", "right": "left"}
    for i in (0, 7):  # one of each set
        there, here = mirrored[i], plain[i]
        for j, name in enumerate(names):
            side, _, rest = name.partition("_")
            other = names.index(f"{swap[side]}_{rest}" if side in swap else name)
            assert there["weights"][other] == here["weights"][j]
            if here["weights"][j]:
                x, y = here["joints"][j].tolist()
                assert there["joints"][other].tolist() == pytest.approx([63 - x, y], abs=1e-3)


def test_sets_without_a_common_joint(drawn: Path) -> None:
    with pytest.raises(InputError, match="no joint of cat"):
        to_skeleton(open_dataset(drawn), Skeleton("cat", ("tail",), (), ()))
    with pytest.raises(InputError, match="at least one pose set"):
        join([])
