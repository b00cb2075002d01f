"""Entries of a file belong to people by what the file states, never by their order."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dolls import BOXES, FOUND, IDS, PICTURES, SHUFFLE, TRUTH, refused, results, save

from softgate_ext.data.coco import read_coco
from softgate_ext.data.lsp import read_lsp
from softgate_ext.data.poseset import PoseSet
from softgate_ext.data.synthetic import draw_people
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.evaluation.joint_files import read_predictions, write_predictions

IDENTITIES: dict[str, dict[str, Callable[[int], Any]]] = {
    "annotation ids": {"annotation_id": IDS.__getitem__},
    "ids": {"id": IDS.__getitem__},
    "ids as strings": {"image_id": lambda i: str(PICTURES[i]), "id": lambda i: str(IDS[i])},
    "ids with zeros": {"image_id": lambda i: f"{PICTURES[i]:012d}", "bbox": BOXES.__getitem__},
    "ids as floats in strings": {
        "image_id": lambda i: f"{PICTURES[i]}.0",
        "id": lambda i: f"{IDS[i]}.0",
        "category_id": lambda i: "1.0",
    },
    "names as ids": {
        "image_id": lambda i: f"{PICTURES[i] - 10:012d}.jpg",
        "bbox": BOXES.__getitem__,
    },
    "boxes": {"bbox": BOXES.__getitem__},
    "AlphaPose": {
        "image_id": lambda i: f"{PICTURES[i] - 10:012d}.jpg",
        "box": BOXES.__getitem__,
        "idx": lambda i: [1.0],
    },
}


def test_coco_results_go_by_their_pictures(dolls: Path, doll_set: PoseSet, tmp_path: Path) -> None:
    """The truth itself, in every order of the file; scored as a whole."""
    exact = results(keypoints=lambda i: np.hstack([TRUTH[i], np.ones((3, 1))]).ravel().tolist())
    for order in (range(5), range(4, -1, -1), SHUFFLE):
        path = save(tmp_path / "results.json", [exact[i] for i in order])
        found = read_predictions(path, doll_set)
        np.testing.assert_array_equal(found.joints, TRUTH)
        assert found.notes[1:] == (
            "4 people in pictures with several were told apart by their joints, the most "
            "confident first, as COCO matches people (the result can be too good, because the truth is used; boxes or annotation ids in the file avoid this)",
        )
        assert found.scores.tolist() == [[0.9 - i / 10] * 3 for i in range(5)]


def test_wrong_ids_of_pictures_are_refused(doll_set: PoseSet, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save(path, results(image_id=lambda i: 900 + i))
    refused(
        path,
        doll_set,
        r"results.json has people of 900, 901, 902 and no person of dolls_val-test; takes entries "
        r"of this dataset, identified by image ids such as 10, or file names such as 000000000000.jpg",
    )
    save(path, results(image_id=lambda i: 900 + i, annotation_id=IDS.__getitem__))
    refused(path, doll_set, "has people of 900, 901, 902 and no person of dolls_val-test")


@pytest.mark.parametrize("way", ["boxes", "annotation ids", "ids"])
def test_unknown_ids_of_pictures_are_counted(way: str, doll_set: PoseSet, tmp_path: Path) -> None:
    fields = {**IDENTITIES[way], "image_id": lambda i: PICTURES[i] if i else 900}
    found = read_predictions(save(tmp_path / "results.json", results(**fields)), doll_set)
    assert np.isnan(found.joints[0]).all() and (found.scores[0] == 0).all()
    np.testing.assert_array_equal(found.joints[1:], FOUND[1:])
    assert [note for note in found.notes if "not used" in note] == [
        "1 prediction is not used, because dolls_val-test does not have the picture or id, such as "
        "900"
    ]
    assert "1 person of 5 is not in the file, first in 000000000000.jpg" in found.notes[-1]


@pytest.mark.parametrize("fields", IDENTITIES.values(), ids=list(IDENTITIES))
def test_people_of_one_picture_go_by_id_and_box(
    fields: dict[str, Callable[[int], Any]], doll_set: PoseSet, tmp_path: Path
) -> None:
    """Joints of one picture exchanged: what a person's joints are like does not decide."""
    swap = [1, 0, 3, 2, 4]
    entries = results(**fields)
    for entry, i in zip(entries, swap, strict=True):
        entry["keypoints"] = FOUND[i].ravel().tolist()
    for order in (range(5), SHUFFLE):
        path = save(tmp_path / "results.json", [entries[i] for i in order])
        found = read_predictions(path, doll_set)
        np.testing.assert_array_equal(found.joints, FOUND[swap])
        assert not any("their joints" in note for note in found.notes)


def test_boxes_tell_where_crops_are_one(doll_set: PoseSet, tmp_path: Path) -> None:
    """Somebody upright before somebody who lies, found by a detector."""
    boxes = np.array([[40, 0, 60, 80], [10, 30, 90, 50]], np.float32)
    crops = {"centers": np.full((2, 2), 50, np.float32), "sizes": np.full(2, 100, np.float32)}
    two = replace(doll_set.subset([0, 1]), boxes=boxes, **crops)
    seen = [[12, 29, 75, 21], [41, 2, 20, 76]]
    path = save(tmp_path / "a.json", results(bbox=lambda i: seen[i % 2])[:2])
    np.testing.assert_array_equal(read_predictions(path, two).joints, FOUND[[1, 0]])


def test_the_surest_is_matched_first_as_in_coco(doll_set: PoseSet, tmp_path: Path) -> None:
    """A person nobody labelled, however sure, does not take a labelled one's place."""
    entries = results()[:2]
    for entry in entries:
        entry["keypoints"] = FOUND[entries.index(entry)].ravel().tolist()
    worse = {**entries[0], "keypoints": (FOUND[0] + 1).ravel().tolist(), "score": 0.95}
    stranger = {**entries[0], "keypoints": (FOUND[0] + [500, 0]).ravel().tolist(), "score": 0.99}
    few = doll_set.subset([0, 1])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        given = [entries[0], entries[1], worse, stranger]
        found = read_predictions(save(tmp_path / "r.json", [given[i] for i in order]), few)
        np.testing.assert_array_equal(found.joints, [FOUND[0] + 1, FOUND[1]])
        assert (
            "2 predictions are not used, because they match no labelled person" in found.notes[-1]
        )


@pytest.mark.parametrize(
    "name", ["images/000000000001.JPG", "IMAGES/000000000001", "000000000001.Jpg"]
)
def test_names_match_in_other_letters(name: str, doll_set: PoseSet, tmp_path: Path) -> None:
    one = doll_set.subset([2])
    path = save(tmp_path / "a.json", [{"image": name, "joints": FOUND[2].tolist()}])
    np.testing.assert_array_equal(read_predictions(path, one).joints, FOUND[[2]])
    both = replace(doll_set.subset([2, 3]), ids=None)
    images = [both.image_paths[0].with_name(end) for end in ("a.jpg", "a.JPG")]
    path = save(tmp_path / "a.json", [{"image": "a.Jpg", "joints": FOUND[2].tolist()}])
    refused(path, replace(both, image_paths=images), "has people of a.Jpg and no person")


def test_a_venue_is_no_place(doll_set: PoseSet, tmp_path: Path) -> None:
    entries = results(place=lambda i: "stadium", bbox=BOXES.__getitem__)
    found = read_predictions(save(tmp_path / "a.json", entries), doll_set)
    np.testing.assert_array_equal(found.joints, FOUND)
    entries = results(score=lambda i: [0.5, 0.25, 0.75], bbox=BOXES.__getitem__)
    found = read_predictions(save(tmp_path / "a.json", entries), doll_set)
    assert found.scores.tolist() == [[0.5, 0.25, 0.75]] * 5


def test_spellings_of_a_number_are_one_unless_there_are_two(
    doll_set: PoseSet, tmp_path: Path
) -> None:
    one = doll_set.subset([0, 4])
    path = save(tmp_path / "a.json", results(image_id=lambda i: str(PICTURES[i]))[::4])
    np.testing.assert_array_equal(read_predictions(path, one).joints, FOUND[[0, 4]])
    two = replace(one, ids=np.array([(10, 1), ("10", 2)], object))
    entries = [{**results()[0], "image_id": "10"}, {**results()[4], "image_id": 10}]
    found = read_predictions(save(path, entries), two)
    np.testing.assert_array_equal(found.joints, FOUND[[4, 0]])
    refused(
        save(path, [{**results()[0], "image_id": "010"}]), two, "has people of 010 and no person"
    )


@pytest.mark.parametrize(
    "key",
    ["image", "file", "file_name", "filename", "image_name", "image_path", "id", "image_id"],
)
def test_json_that_names_pictures(key: str, doll_set: PoseSet, tmp_path: Path) -> None:
    """In their folders, with boxes that tell the people of one from each other."""
    swap = [1, 0, 3, 2, 4]
    entries = [
        {
            key: f"images/{PICTURES[i] - 10:012d}.jpg",
            "bbox_xywh": BOXES[i],
            "joints": FOUND[swap[i]].tolist(),
        }
        for i in SHUFFLE
    ]
    found = read_predictions(save(tmp_path / "a.json", entries), doll_set)
    np.testing.assert_array_equal(found.joints, FOUND[swap])


def test_ids_alone_are_of_people_or_of_pictures(doll_set: PoseSet, tmp_path: Path) -> None:
    entries = [{"id": IDS[i], "joints": FOUND[i].tolist()} for i in SHUFFLE]
    path = save(tmp_path / "a.json", entries)
    np.testing.assert_array_equal(read_predictions(path, doll_set).joints, FOUND)
    lone = doll_set.subset([0, 2, 4])
    pictures = [{"id": PICTURES[i], "joints": FOUND[i].tolist()} for i in (2, 4, 0)]
    np.testing.assert_array_equal(
        read_predictions(save(path, pictures), lone).joints, FOUND[[0, 2, 4]]
    )
    refused(path, replace(lone, ids=None), "has people of 11, 12, 10 and no person of .*; takes")


def test_pictures_of_one_name_in_two_folders(doll_set: PoseSet, tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def given(*names: str) -> Path:
        rows = zip(names, FOUND, strict=False)
        return save(path, [{"image": name, "joints": own.tolist()} for name, own in rows])

    def among(*names: str) -> PoseSet:
        images = [tmp_path / "data" / name for name in names]
        return replace(doll_set.subset(range(len(names))), image_paths=images, ids=None)

    two = among("b/1.jpg", "a/1.jpg")
    for names in (("a/1.jpg", "b/1.jpg"), ("/home/me/a/1.jpg", "..\\b\\1"), ("x/a/1.jpg", "b/1")):
        np.testing.assert_array_equal(read_predictions(given(*names), two).joints, FOUND[[1, 0]])
    refused(given("1.jpg"), two, "has a picture 1.jpg, which may be .*b/1.jpg or .*a/1.jpg; takes")
    refused(given("c/1.jpg"), two, "has people of c/1.jpg and no person")
    one = among("b/1.jpg")
    found = read_predictions(given("a/1.jpg", "b/1.jpg"), one)
    np.testing.assert_array_equal(found.joints, FOUND[[1]])
    refused(given("a/1.jpg", "c/1.jpg"), one, "a/1.jpg and c/1.jpg, either of which may be .*b/1")
    found = read_predictions(given("a/1.jpg"), one)
    assert (
        "1 picture is matched by file name only, because the folders have other names"
        in found.notes[1]
    )


def test_who_is_who_needs_boxes_where_nobody_is_labelled(doll_set: PoseSet, tmp_path: Path) -> None:
    """As MPII's test people are."""
    bare = replace(doll_set, labelled=np.zeros((5, 3), bool), boxes=None)
    path = save(tmp_path / "a.json", results())
    refused(
        path,
        bare,
        "2 of the people in 00000000000[01].jpg and the dataset has 2, .* takes entries with boxes",
    )
    crops = np.hstack(
        [doll_set.centers - doll_set.sizes[:, None] / 2, *[doll_set.sizes[:, None]] * 2]
    )
    save(path, [results(bbox=lambda i: crops[i].tolist())[i] for i in SHUFFLE])
    np.testing.assert_array_equal(read_predictions(path, bare).joints, FOUND)


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5", ".json"])
def test_what_is_written_is_told_apart(suffix: str, doll_set: PoseSet, tmp_path: Path) -> None:
    """By ids, by places in the dataset's file, and by crops."""
    if suffix == ".h5":
        pytest.importorskip("h5py")
    path = tmp_path / f"a{suffix}"
    scores = np.random.default_rng(0).random((5, 3))
    twins = replace(doll_set, centers=doll_set.centers[[0, 0, 2, 2, 4]], ids=None)
    for each in (doll_set, twins, replace(doll_set, ids=None, persons=None)):
        write_predictions(path, FOUND, scores, each)
        found = read_predictions(path, each.subset(SHUFFLE))
        np.testing.assert_allclose(found.joints, FOUND[SHUFFLE], atol=1e-9)
        np.testing.assert_allclose(found.scores, scores[SHUFFLE])


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_a_file_means_nothing(seed: int, dolls: Path, tmp_path: Path) -> None:
    """Whatever entries say of themselves, scores or none, people missing and too many."""
    rng = np.random.default_rng(seed)
    fields = list(IDENTITIES.values())[seed % len(IDENTITIES)] if seed % 3 else {}
    entries = results(**fields)
    for entry in entries:
        entry["keypoints"] = (np.reshape(entry["keypoints"], (3, 3)) + rng.normal(0, 9, 3)).ravel()
        entry["keypoints"] = entry["keypoints"].tolist()
        if seed % 2:
            del entry["score"]
    if "annotation_id" not in fields and "id" not in fields:
        entries += [{**entries[i], "keypoints": entries[i - 1]["keypoints"]} for i in (0, 2)]
    entries = entries[seed % 2 :]
    figures = set()
    for _ in range(4):
        path = save(tmp_path / "a.json", [entries[i] for i in rng.permutation(len(entries))])
        figures.add(read_predictions(path, read_coco(dolls, "test")).joints.tobytes())
    assert len(figures) == 1


def test_shuffled_files_score_as_sorted_ones(tmp_path: Path) -> None:
    root = draw_people(tmp_path / "people", 12, seed=3, image_size=80)
    doll_set = read_lsp(root, "test")
    joints = doll_set.joints + np.random.default_rng(0).normal(0, 4, doll_set.joints.shape)
    order = np.random.default_rng(1).permutation(len(doll_set))
    figures = []
    for rows in (np.arange(len(doll_set)), order):
        names = [doll_set.image_paths[i].name for i in rows]
        np.savez(tmp_path / "a.npz", preds=joints[rows], image_names=names)
        result = evaluate(EvalConfig(None, root, predictions=tmp_path / "a.npz"))
        figures.append(result.to_json()["rows"])
    assert figures[0] == figures[1]
