"""Images whose size differs from the size in the annotation file."""

import json
from pathlib import Path
from typing import Any

import pytest
from odd_coco import read, sized
from official import write_coco
from PIL import Image

from softgate_ext.data.coco import read_coco
from softgate_ext.data.poseset import EmptySplit


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ((240, 180), "240 x 180: it was resized or cut after labelling"),
        ((120, 90.7), "120 x 91: it was resized or cut after labelling"),
        ((90, 120), "90 x 120: it was turned after labelling"),
    ],
)
def test_people_in_pictures_of_another_size_are_left_out(
    tmp_path: Path, stated: tuple[int, int], why: str
) -> None:
    people = read(tmp_path, sized(*stated))
    assert people.ids is not None and people.ids.tolist() == [[11, 101]]
    (note,) = people.notes
    assert note.startswith("1 sample is left out, because 1 picture has another size than stated: ")
    assert note.endswith(
        f"000000000000.jpg is 120 x 90 but the dataset states {why}, so that its joints lie elsewhere"
    )
    contents = sized(*stated)
    contents["images"][1].update(
        contents["images"][0] | {"id": 11, "file_name": "000000000001.jpg"}
    )
    with pytest.raises(EmptySplit, match="is empty .2 samples are left out, because 2 pictures"):
        read(tmp_path, contents)


@pytest.mark.parametrize(
    ("width", "height"),
    [(120, 90), (120.0, 90.0), (119.6, 90.4), (None, None)],
)
def test_a_size_that_states_nothing_contradicts_nothing(
    tmp_path: Path, width: Any, height: Any
) -> None:
    people = read(tmp_path, sized(width, height))
    assert len(people) == 2 and people.notes == ()


def test_a_picture_turned_by_exif_is_told(tmp_path: Path) -> None:
    contents = sized(120, 90)
    path = write_coco(tmp_path / "annotations" / "dolls.json", contents)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (120, 90)).save(tmp_path / "images" / "000000000000.jpg", exif=exif)
    (note,) = read_coco(path).notes
    assert (
        "is 90 x 120 but the dataset states 120 x 90: it was turned by its EXIF orientation" in note
    )
    contents["images"][0].update(width=90, height=120)  # labelled upright
    path.write_text(json.dumps(contents))
    people = read_coco(path)
    assert people.notes == () and len(people) == 2
