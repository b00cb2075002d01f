"""The readers of the forms in which programs write people as JSON."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from softgate_ext.data.coco_people import listed_images
from softgate_ext.data.entries import OddEntry, ReadingNotes, identity, numbers
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.joint_entries import TAKES, Entry, Listing
from softgate_ext.evaluation.joint_identity import category_of
from softgate_ext.evaluation.joint_keys import COLUMNS, CROWDS, FIELDS, NAMES, SCORES, usual
from softgate_ext.evaluation.joint_points import names_beside
from softgate_ext.evaluation.joint_unread import leaves
from softgate_ext.files.counted import counted


def list_object(value: Any, path: Path, people: PoseSet) -> Listing:
    """Reads the entries of a JSON value.

    Args:
        value: a list of people, or an object in one of the known forms.
        path: the file, for messages.
        people: the samples, with their joints and categories.

    Raises:
        InputError: the value is neither, or a part that all entries need has another form.
    """
    holder = {NAMES[0]: value} if isinstance(value, list) else value
    if not isinstance(holder, dict):
        raise InputError(f"predictions: {path} holds neither a list nor an object; {TAKES}")
    spelled = usual(holder)
    key = next((key for key in _OBJECTS if key in spelled), None)
    holder = holder if key is None else spelled  # without a key, the names are those of files
    if key is not None and not isinstance(holder[key], list):
        raise InputError(f"predictions: {path} has {key} that are not a list; {TAKES}")
    names = _names(names_beside(holder, people.skeleton))
    listing = Listing(joints=names, origin=holder.get("origin"))
    if listing.joints is None and holder.get("joint_names") is not None:
        raise InputError(
            f"predictions: {path} has joint_names that are not a list of names; takes one"
        )
    if key is None:
        _by_file_name(holder, listing)
    else:
        _OBJECTS[key](path, key, holder, people, listing)
    if not listing.entries and holder.get("videos"):
        raise InputError(
            f"predictions: {path} has no people of pictures; takes the .jsonl file of the video, which "
            "lies beside it"
        )
    return listing


def _people(
    path: Path, key: str, holder: Mapping[str, Any], people: PoseSet, listing: Listing
) -> None:
    """Reads a list of people, or of images with people, as `softgate predict` and mmpose write them.

    Lists of the same length beside it may hold their identities.
    """
    listing.entries += listed(holder[key], listing.notes)
    count = len(listing.entries)
    for field, names in FIELDS.items():
        for name in (spelling for each in names for spelling in (each, f"{each}s")):
            column = holder.get(name) if name != key else None
            if not isinstance(column, list) or not _is_of_entries(field, column):
                continue
            if len(column) == count:
                _add_column(names[0], column, listing)
            elif field != "score":  # these may be the scores of the joints of one person
                raise InputError(
                    f"predictions: {path} has {counted(count, 'entr[y|ies]')} and {len(column)} {name}; "
                    "these numbers must be equal"
                )
    for name, column in leaves(holder).items():  # unknown keys may also hold identities
        if (
            name != key
            and (name not in COLUMNS or name == "images")
            and isinstance(column, list)
            and len(column) == count
        ):
            own = [
                value if isinstance(value, str | int | float | dict) else None for value in column
            ]
            _add_column(name, own, listing)
    scores = holder.get("scores")
    if isinstance(scores, list) and len(scores) == count:
        _add_column("scores", [row if isinstance(row, list) else None for row in scores], listing)


def _is_of_entries(field: str, column: Iterable[Any]) -> bool:
    """Whether a list holds values of entries, and not pixels or descriptions of images."""
    kinds = {list} if field == "box" else {str, int, float}
    return any(type(value) in kinds for value in column)


def _add_column(name: str, column: Iterable[Any], listing: Listing) -> None:
    """Adds the value of a column to each entry that does not have this field itself."""
    for row, (entry, value) in enumerate(zip(listing.entries, column, strict=True)):
        person = {NAMES[0]: entry.person} if isinstance(entry.person, list) else entry.person
        if isinstance(person, dict) and value is not None:
            listing.entries[row] = replace(entry, person={name: value, **person})


def _mmpose(
    path: Path, key: str, holder: Mapping[str, Any], people: PoseSet, listing: Listing
) -> None:
    """Reads mmpose's people of one image, or of the frames of a video, with the names of the joints."""
    listing.entries += listed(holder[key], listing.notes)
    about = holder.get("meta_info")
    names = about.get("keypoint_id2name") if isinstance(about, dict) else None
    if isinstance(names, dict):
        names = [names.get(str(place)) for place in range(len(names))]
    listing.joints = _names(names)


def _annotations(
    path: Path, key: str, holder: Mapping[str, Any], people: PoseSet, listing: Listing
) -> None:
    """Reads an object in COCO's form. Its image ids may be its own, so images are matched by name."""
    pictures, kinds = (
        part if isinstance(part := holder.get(name), list) else []
        for name in ("images", "categories")
    )
    pictures, kinds = ([_spelled(one) for one in part] for part in (pictures, kinds))
    images = listed_images(pictures, listing.notes)
    categories = {identity(kind.get("id")): kind for kind in kinds if isinstance(kind, dict)}
    for number, annotation in enumerate(holder[key], 1):
        if not isinstance(annotation, dict):
            listing.entries.append(Entry(f"number {number}", annotation))
            continue
        annotation = usual(annotation)
        which = identity(annotation.get("id")) or f"number {number}"
        image = images.get(identity(annotation.get("image_id")) or "")
        if image is not None and not image.doubtful:
            annotation = {**annotation, "image_id": None, "file_name": image.name}
        elif images:
            doubt = "an image that is not listed" if image is None else "an id of two pictures"
            listing.notes.count(f"entr[y|ies] of {doubt} [is|are] left out", which)
            continue
        category = categories.get(identity(annotation.get("category_id")), {})
        name, joints = category.get("name"), category.get("keypoints")
        name = name if isinstance(name, str) else None
        listing.entries.append(Entry(which, annotation, None, name, True))
        with suppress(OddEntry):  # raised for a category whose joints are not those of the data
            category_of(annotation.get("category_id"), name, people.categories)
            listing.joints = listing.joints or _names(joints, str.lower)


def _names(given: Any, spelled: Callable[[str], str] = str) -> tuple[str, ...] | None:
    """The names of joints, or None if the value is not a list of names."""
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        return None
    return tuple(map(spelled, given)) or None


def _by_file_name(holder: Mapping[str, Any], listing: Listing) -> None:
    """Reads an object from names of images to the joints of a person, or to several people."""
    for name, value in holder.items():
        if name in ("joint_names", "origin") or value == []:  # []: no person in this image
            continue
        spelled = _spelled(value)
        if isinstance(value, dict) and any(crowd in spelled for crowd in CROWDS):
            listing.entries += listed([{"file": name, **value}], listing.notes)
            continue
        if isinstance(value, dict) and not any(key in spelled for key in NAMES):
            value = {NAMES[0]: value}
        several = isinstance(value, list) and any(map(_is_person, value))
        for number, person in enumerate(value if several else [value], 1):
            which = f"{name} person {number}" if several else name
            listing.entries.append(Entry(which, _own_terms(person), {"file": name}))


def _is_person(value: Any) -> bool:
    """Whether a value is a person and not a joint."""
    if isinstance(value, dict):
        return any(key in usual(value) for key in NAMES)
    return isinstance(value, list) and (
        len(value) > 3 or any(isinstance(joint, list | dict) for joint in value)
    )


def _crowds(item: Any) -> list[str]:
    """The keys of an object whose values are lists of people; none if it has joints itself."""
    fields = item if isinstance(item, dict) else {}
    found = [
        key
        for key, value in fields.items()
        if isinstance(value, list)
        and any(isinstance(one, dict) and _is_person(one) for one in value)
    ]
    own = [name for name in NAMES if fields.get(name) is not None and name not in found]
    return [] if own else found


def listed(items: Iterable[Any], notes: ReadingNotes) -> Iterator[Entry]:
    """The entries of a list of people, or of images with their people.

    Args:
        items: the list.
        notes: gets notes on images that cannot be read.
    """
    items = list(map(_spelled, items))
    crowds = (*CROWDS, *dict.fromkeys(key for item in items for key in _crowds(item)))
    for number, item in enumerate(items, 1):
        crowd = next((key for key in crowds if isinstance(item, dict) and key in item), None)
        if crowd is None:
            yield _entry(f"number {number}", item, None, True)
            continue
        keys = (*FIELDS["name"], *FIELDS["image_id"], "id", *FIELDS["frame"])
        named = next((item[key] for key in keys if item.get(key) is not None), f"number {number}")
        if not isinstance(item[crowd], list):
            notes.count(f"picture[s] whose {crowd} are not a list [is|are] left out", named)
            continue
        whole = {key: value for key, value in item.items() if key != crowd}
        for place, person in enumerate(item[crowd], 1):
            yield _entry(f"{named} person {place}", person, whole, len(items) == 1)


def _entry(which: str, person: Any, whole: Mapping[str, Any] | None, lone: bool) -> Entry:
    person = _own_terms(person)
    own = identity(person.get("id")) if isinstance(person, dict) else None
    theirs = isinstance(person, dict) and SCORES in person
    return Entry(own or which, person, whole, lone=lone and theirs)


def _spelled(value: Any) -> Any:
    """An object with the usual spelling of its keys; other values unchanged."""
    return usual(value) if isinstance(value, dict) else value


def _own_terms(person: Any) -> Any:
    """A person with the usual spelling of its keys, and with mmpose's scores and box converted."""
    person = _spelled(person)
    if not isinstance(person, dict) or SCORES not in person:
        return person
    box = person.get("bbox")
    corners = numbers(box[0] if isinstance(box, list) and len(box) == 1 else box, 4)
    sides = None if corners is None else [*corners[:2], *corners[2:] - corners[:2]]
    return {**person, "scores": person[SCORES], "bbox": sides}


_Reader = Callable[[Path, str, Mapping[str, Any], PoseSet, Listing], None]
_OBJECTS: dict[str, _Reader] = {
    "annotations": _annotations,
    "instance_info": _mmpose,
    "predictions": _people,
    "people": _people,
    **dict.fromkeys(NAMES, _people),
    "images": _people,  # last, because other forms have images beside the people
}
"""The reader for the first of these keys that an object has; `_by_file_name` reads other objects."""
