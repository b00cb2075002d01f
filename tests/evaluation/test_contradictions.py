"""Prediction files that contradict the dataset or themselves, or name several people at once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dolls import BOXES, FOUND, IDS, PICTURES, SHUFFLE, refused, results, save

from softgate_ext.data.poseset import PoseSet
from softgate_ext.evaluation.joint_files import read_predictions


def test_a_running_number_is_no_annotation(doll_set: PoseSet, tmp_path: Path) -> None:
    entries = results(id=lambda i: 100 + i, bbox=BOXES.__getitem__)
    found = read_predictions(save(tmp_path / "a.json", entries), doll_set)
    np.testing.assert_array_equal(found.joints, FOUND)
    assert "id is not used: it seems to count the entries of the file" in found.notes[1]


def test_contradictions_are_refused(doll_set: PoseSet, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save(path, results(annotation_id=lambda i: 100 + i))
    refused(path, doll_set, "has the annotation 101 in another picture than dolls_val-test; takes")
    save(path, results(annotation_id=lambda i: 900 + i))
    refused(path, doll_set, "has people of 10, 11, 12 and no person of dolls_val-test")
    save(path, [*results(annotation_id=IDS.__getitem__)[:2], results(id=lambda i: IDS[0])[0]])
    assert len(read_predictions(path, doll_set).notes) == 3  # the last one has another field
    save(path, [results(annotation_id=IDS.__getitem__)[0]] * 2)
    refused(path, doll_set, "has two entries of one person, 10; takes one")
    save(path, results(file_name=lambda i: "000000000000.jpg"))
    refused(path, doll_set, "an entry of 000000000000.jpg with the image id 11, .* dolls_val-test")
    save(path, [{"id": IDS[i], "joints": FOUND[i].tolist()} for i in range(5)])
    both = replace(doll_set, ids=np.array([(100 + (i + 1) % 5, 100 + i) for i in range(5)], object))
    refused(path, both, "has ids that may be of people or of pictures of dolls_val-test; takes")


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
    assert "most entries lie on another person of the picture" in found.notes[1]


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
        "has people of 10, 11, 12 and no person",
    )
