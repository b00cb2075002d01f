"""Whose the joints in a file are: by what it says, never by its order."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
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
            "4 people in pictures with several were told apart by their joints, the surest first, "
            "as COCO matches people (which can flatter: boxes or annotation ids would tell)",
        )
        assert found.scores.tolist() == [[0.9 - i / 10] * 3 for i in range(5)]


def test_wrong_ids_of_pictures_are_refused(doll_set: PoseSet, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save(path, results(image_id=lambda i: 900 + i))
    refused(
        path,
        doll_set,
        r"results.json has people of 900, 901, 902 and nobody of dolls_val-test; takes people of "
        r"this dataset by image ids such as 10, or file names such as 000000000000.jpg",
    )
    save(path, results(image_id=lambda i: 900 + i, annotation_id=IDS.__getitem__))
    refused(path, doll_set, "has people of 900, 901, 902 and nobody of dolls_val-test")


@pytest.mark.parametrize("way", ["boxes", "annotation ids", "ids"])
def test_unknown_ids_of_pictures_are_counted(way: str, doll_set: PoseSet, tmp_path: Path) -> None:
    fields = {**IDENTITIES[way], "image_id": lambda i: PICTURES[i] if i else 900}
    found = read_predictions(save(tmp_path / "results.json", results(**fields)), doll_set)
    assert np.isnan(found.joints[0]).all() and (found.scores[0] == 0).all()
    np.testing.assert_array_equal(found.joints[1:], FOUND[1:])
    assert [note for note in found.notes if "not used" in note] == [
        "1 prediction is of pictures or ids that dolls_val-test does not have, such as 900, and "
        "not used"
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
        assert "2 predictions are of nobody who is labelled in the picture" in found.notes[-1]


def test_a_running_number_is_no_annotation(doll_set: PoseSet, tmp_path: Path) -> None:
    entries = results(id=lambda i: 100 + i, bbox=BOXES.__getitem__)
    found = read_predictions(save(tmp_path / "a.json", entries), doll_set)
    np.testing.assert_array_equal(found.joints, FOUND)
    assert "id counts the entries of the file and is not used" in found.notes[1]


def test_contradictions_are_refused(doll_set: PoseSet, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save(path, results(annotation_id=lambda i: 100 + i))
    refused(path, doll_set, "has the annotation 101 in another picture than dolls_val-test; takes")
    save(path, results(annotation_id=lambda i: 900 + i))
    refused(path, doll_set, "has people of 10, 11, 12 and nobody of dolls_val-test")
    save(path, [*results(annotation_id=IDS.__getitem__)[:2], results(id=lambda i: IDS[0])[0]])
    assert len(read_predictions(path, doll_set).notes) == 3  # the last one has another field
    save(path, [results(annotation_id=IDS.__getitem__)[0]] * 2)
    refused(path, doll_set, "has two entries of one person, 10; takes one")
    save(path, results(file_name=lambda i: "000000000000.jpg"))
    refused(
        path, doll_set, "an entry of 000000000000.jpg with the image id 11, which dolls_val-test"
    )
    save(path, [{"id": IDS[i], "joints": FOUND[i].tolist()} for i in range(5)])
    both = replace(doll_set, ids=np.array([(100 + (i + 1) % 5, 100 + i) for i in range(5)], object))
    refused(path, both, "has ids, which are in dolls_val-test of people and of pictures; takes")


@pytest.mark.parametrize("ascending", [True, False])
def test_ids_of_the_dataset_in_other_pictures_are_refused(
    ascending: bool, doll_set: PoseSet, tmp_path: Path
) -> None:
    """COCO's whole object whose ids of pictures are moved by one, in each order of the file."""
    pictures = {10: 11, 11: 12, 12: 10}
    entries = results(id=IDS.__getitem__, bbox=BOXES.__getitem__)
    for entry in entries:
        entry["image_id"] = pictures[entry["image_id"]]
    entries.sort(key=lambda entry: entry["id"], reverse=not ascending)
    images = [{"id": i, "file_name": f"{i - 10:012d}.jpg"} for i in (10, 11, 12)]
    refused(
        save(tmp_path / "a.json", {"images": images, "annotations": entries, "categories": []}),
        doll_set,
        "has the annotation 10[04] in another picture than dolls_val-test; takes entries that agree "
        "with the dataset, or that have no id$",
    )


def test_an_id_that_counts_within_the_right_pictures_is_not_used(
    doll_set: PoseSet, tmp_path: Path
) -> None:
    """The dataset's ids run on too, and the file has the people of a picture in another order."""
    running = replace(doll_set, ids=np.array(list(zip(PICTURES, range(1, 6), strict=True)), object))
    entries = [results(bbox=BOXES.__getitem__)[i] for i in (1, 0, 3, 2, 4)]
    path = save(tmp_path / "a.json", [{"id": n, **one} for n, one in enumerate(entries, 1)])
    found = read_predictions(path, running)
    np.testing.assert_array_equal(found.joints, FOUND)
    assert "most entries lie as somebody else does in the picture" in found.notes[1]


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
    refused(path, replace(both, image_paths=images), "has people of a.Jpg and nobody")


def test_a_venue_is_no_place(doll_set: PoseSet, tmp_path: Path) -> None:
    entries = results(place=lambda i: "stadium", bbox=BOXES.__getitem__)
    found = read_predictions(save(tmp_path / "a.json", entries), doll_set)
    np.testing.assert_array_equal(found.joints, FOUND)
    entries = results(score=lambda i: [0.5, 0.25, 0.75], bbox=BOXES.__getitem__)
    found = read_predictions(save(tmp_path / "a.json", entries), doll_set)
    assert found.scores.tolist() == [[0.5, 0.25, 0.75]] * 5


@pytest.mark.parametrize("field", ["id", "annotation_id"])
def test_an_id_of_several_people_does_not_tell_them(
    field: str, doll_set: PoseSet, tmp_path: Path
) -> None:
    """Nor are the predictions blamed for it."""
    ids = np.array(list(zip(PICTURES, [7, 100, 7, 102, 101], strict=True)), object)
    twice = replace(doll_set, ids=ids)
    own = ids[:, 1].tolist()
    entries = results(**{field: own.__getitem__, "bbox": BOXES.__getitem__})
    for spelled in (int, str):
        given = [{**entry, field: spelled(entry[field])} for entry in entries]
        path = save(tmp_path / "a.json", [given[i] for i in SHUFFLE])
        np.testing.assert_array_equal(read_predictions(path, twice).joints, FOUND)


def test_an_endless_id_is_shortened(doll_set: PoseSet, tmp_path: Path) -> None:
    entries = results(image_id=lambda i: PICTURES[i] if i else 10**400)
    found = read_predictions(save(tmp_path / "a.json", entries), doll_set)
    assert max(map(len, found.notes)) < 250
    refused(
        save(tmp_path / "a.json", [{**entry, "annotation_id": "7" * 400} for entry in results()]),
        doll_set,
        "has people of 10, 11, 12 and nobody",
    )


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
    refused(save(path, [{**results()[0], "image_id": "010"}]), two, "has people of 010 and nobody")


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
    refused(path, replace(lone, ids=None), "has people of 11, 12, 10 and nobody of .*; takes")


ARRAYS: dict[str, dict[str, Any]] = {
    "image_ids ids": {"image_ids": PICTURES, "ids": IDS},
    "image_id annotation_ids": {"image_id": PICTURES, "annotation_ids": IDS},
    "ids": {"ids": IDS},
    "image_names": {"image_names": [f"{i - 10:012d}.jpg" for i in PICTURES], "bbox": BOXES},
    "filenames": {"filenames": [f"x/images/{i - 10:012d}.jpg" for i in PICTURES], "box_xywh": BOXES},
    "images": {"images": [f"{i - 10}".zfill(12) for i in PICTURES], "annotation_id": IDS},
    "floats": {"image_ids": [float(i) for i in PICTURES], "ids": [float(i) for i in IDS]},
}  # fmt: skip


def array_file(path: Path, arrays: dict[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})
    elif path.suffix == ".mat":
        cells = {
            name: np.array(value, object) if isinstance(value[0], str) else np.asarray(value)
            for name, value in arrays.items()
        }
        scipy.io.savemat(path, cells)
    elif path.suffix == ".json":
        save(path, {name: np.asarray(value).tolist() for name, value in arrays.items()})
    else:
        with pytest.importorskip("h5py").File(path, "w") as store:
            for name, value in arrays.items():
                store[name] = value
    return path


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5", ".json"])
@pytest.mark.parametrize("names", ARRAYS.values(), ids=list(ARRAYS))
def test_arrays_beside_the_joints(
    suffix: str, names: dict[str, Any], doll_set: PoseSet, tmp_path: Path
) -> None:
    """Shuffled together; the file may hold more people, and fewer."""
    origin = 1 if suffix in (".mat", ".h5") else 0
    order = [*SHUFFLE, 0]
    given = {name: [values[i] for i in order] for name, values in names.items()}
    for own in given.values():
        own[-1] = "other.jpg" if isinstance(own[-1], str) else own[-1]
        if isinstance(own[-1], int | float):
            own[-1] = 77
    scores = [0.9 - i / 10 for i in order]
    preds = FOUND[order] + origin
    path = array_file(tmp_path / f"a{suffix}", {"preds": preds, "scores": scores, **given})
    found = read_predictions(path, doll_set)
    np.testing.assert_allclose(found.joints, FOUND, atol=1e-9)
    np.testing.assert_allclose(found.scores, [[0.9 - i / 10] * 3 for i in range(5)])
    assert (
        "1 prediction is of pictures or ids that dolls_val-test does not have" in (found.notes[-1])
    )


def test_arrays_that_are_no_identity(doll_set: PoseSet, tmp_path: Path) -> None:
    """Pixels called images, and scores of joints, as HRNet's and others' files have them."""
    arrays = {"preds": FOUND, "images": np.zeros((5, 3, 8, 8)), "scores": FOUND[..., 0]}
    found = read_predictions(array_file(tmp_path / "a.npz", arrays), doll_set)
    np.testing.assert_array_equal(found.joints, FOUND)
    np.testing.assert_array_equal(found.scores, FOUND[..., 0])
    for wrong, words in (
        ({"image_names": np.array([["a", "b"]] * 5)}, "name has the shape .5, 2."),
        ({"image_ids": PICTURES, "ids": IDS[:4]}, "5 image_id, 4 id, which must be as many"),
        ({"image_ids": PICTURES[:4], "ids": IDS[:4]}, "must hold 4 people with 3 joints"),
        (
            {"image_ids": [0.5] * 5},
            "5 entries whose image_id is no id are left out: number 1, .*; takes",
        ),
    ):
        refused(array_file(tmp_path / "a.npz", {"preds": FOUND, **wrong}), doll_set, words)


def test_names_in_cells_of_matlab_7_3(doll_set: PoseSet, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as store:
        store["preds"] = (FOUND[SHUFFLE] + 1).transpose()
        store["ids"] = np.array([IDS[i] for i in SHUFFLE], float)[None]
        cells = store.create_dataset("image_names", (5, 1), h5py.ref_dtype)
        for row, i in enumerate(SHUFFLE):
            letters = [[ord(letter)] for letter in f"{PICTURES[i] - 10:012d}.jpg"]
            cells[row, 0] = store.create_dataset(f"refs/{row}", data=np.array(letters)).ref
    with open(tmp_path / "new.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    np.testing.assert_array_equal(read_predictions(tmp_path / "new.mat", doll_set).joints, FOUND)


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
    refused(given("c/1.jpg"), two, "has people of c/1.jpg and nobody")
    one = among("b/1.jpg")
    found = read_predictions(given("a/1.jpg", "b/1.jpg"), one)
    np.testing.assert_array_equal(found.joints, FOUND[[1]])
    refused(given("a/1.jpg", "c/1.jpg"), one, "a/1.jpg and c/1.jpg, either of which may be .*b/1")
    found = read_predictions(given("a/1.jpg"), one)
    assert "1 picture is matched by name alone, lying in folders of other names" in found.notes[1]


def test_who_is_who_needs_boxes_where_nobody_is_labelled(doll_set: PoseSet, tmp_path: Path) -> None:
    """As MPII's test people are."""
    bare = replace(doll_set, labelled=np.zeros((5, 3), bool), boxes=None)
    path = save(tmp_path / "a.json", results())
    refused(path, bare, "2 of the people in 00000000000[01].jpg and the dataset 2, .* takes boxes")
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
