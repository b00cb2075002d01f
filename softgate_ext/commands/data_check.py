"""`softgate data check`: what a dataset is, and what of it is there, missing or broken."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from softgate_ext.commands.data_config import DataCheckConfig
from softgate_ext.data.formats import DatasetSource, datasets_at
from softgate_ext.data.images import read_image
from softgate_ext.data.outside import outside_as_told
from softgate_ext.data.poseset import EmptySplit, PoseSet
from softgate_ext.data.shared_pictures import shared_pictures
from softgate_ext.data.stated_size import contradiction
from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_json
from softgate_ext.files.console import cell, say
from softgate_ext.files.counted import counted
from softgate_ext.files.folders import check_targets
from softgate_ext.files.png import write_png
from softgate_ext.pose.draw import contact_sheet, draw_pose
from softgate_ext.pose.geometry import apply_affine, crop_affine, warp
from softgate_ext.pose.mirror import mirror_words, swap_joints
from softgate_ext.ranges import check_ranges

OFFICIAL = {"lsp": 2_000, "lspet": 10_000, "mpii": 25_204, "mpii-json": 25_204, "flic": 5_003}
"""People in the complete releases; of MPII those of the published training and validation."""

SHEET_CROP = 192


@dataclass
class Findings:
    """What was found in a dataset.

    Attributes:
        source: The dataset.
        splits: The parts that could be read.
        absent: Why the others could not, by name.
        sizes: Width and height of every picture that is whole.
        broken: Every other picture, with the reason; missing ones included.
        missing: Those of them that do not exist.
        contradicted: Every whole picture of another size than the dataset states, with a sentence.
    """

    source: DatasetSource
    splits: dict[str, PoseSet]
    absent: dict[str, str]
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    broken: dict[Path, str] = field(default_factory=dict)
    missing: list[Path] = field(default_factory=list)
    contradicted: dict[Path, str] = field(default_factory=dict)

    def problem(self) -> str | None:
        """One sentence, or None where the dataset can be used as it is."""
        if not self.broken and not self.contradicted:
            return None
        total, gone = len(self.sizes) + len(self.broken), len(self.missing)
        faults = [counted(gone, "[is|are] missing"), f"{len(self.broken) - gone} broken"]
        if self.contradicted:
            faults.append(f"{len(self.contradicted)} of another size than stated")
        first = next(iter((self.broken or self.contradicted).values()))
        return (
            f"{self.source.path}: of {counted(total, 'picture[s]')} {', '.join(faults[:-1])} and {faults[-1]}; "
            f"first, {first}"
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, as a dictionary that `json` can write."""
        missing = set(self.missing)
        return {
            "path": str(self.source.path),
            "format": self.source.format,
            "title": self.source.title,
            "people": sum(map(len, self.splits.values())),
            "official_people": OFFICIAL.get(self.source.format),
            "splits": {name: self._split(people) for name, people in self.splits.items()},
            "absent": self.absent,
            "pictures": len(self.sizes),
            "missing": [str(path) for path in self.missing],
            "broken": {
                str(path): reason for path, reason in self.broken.items() if path not in missing
            },
            "contradicted": {str(path): reason for path, reason in self.contradicted.items()},
        }

    def _split(self, people: PoseSet) -> dict[str, Any]:
        pictures, joints = Counter(people.image_paths), people.skeleton.joints
        unknown = (np.inf, np.inf)
        extent = np.array([self.sizes.get(path, unknown) for path in people.image_paths])[:, None]
        inside = ((people.joints >= -0.5) & (people.joints <= extent - 0.5)).all(-1)
        counted = {
            "labelled": people.labelled,
            "visible": people.visible,
            "outside_picture": people.labelled & ~inside,
        }
        return {
            "people": len(people),
            "pictures": len(pictures),
            "pictures_of_several": sum(count > 1 for count in pictures.values()),
            "without_labels": int((~people.labelled.any(1)).sum()),
            "head_boxes": _given(people.head_boxes),
            "torso_boxes": _given(people.torso_boxes),
            "notes": list(people.notes),
            "flip_pairs": [[joints[a], joints[b]] for a, b in people.skeleton.flip_pairs],
            "unpaired": [joints[i] for i in people.skeleton.unpaired],
            "joints": {
                name: {key: int(found[:, j].sum()) for key, found in counted.items()}
                for j, name in enumerate(joints)
            },
        }


def check_dataset(source: DatasetSource, console: Console, swap: Sequence[str] = ()) -> Findings:
    """Reads every annotation and every picture of a dataset; a bar on a terminal.

    Args:
        source: The dataset.
        console: Where the bar is.
        swap: Joints that change places in a mirror image, pair by pair, beside those of the names.

    Raises:
        InputError: Nothing of it can be read, or `swap` is not of its joints.
    """
    splits: dict[str, PoseSet] = {}
    absent: dict[str, str] = {}
    for split in source.splits:
        try:
            people = source.read(split, check_images=False)
            splits[split] = replace(people, skeleton=swap_joints(people.skeleton, swap))
        except EmptySplit as error:
            absent[split] = error.fault
    if not splits:
        raise InputError(f"path: {'; '.join(absent.values())}; takes a dataset with samples")
    findings = Findings(source, splits, absent)
    paths = dict.fromkeys(path for people in splits.values() for path in people.image_paths)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, bar:
        read = bar.track(
            pool.map(_size_or_fault, paths), len(paths), description="reading pictures"
        )
        for picture, result in zip(paths, read, strict=True):
            if not isinstance(result, str):
                findings.sizes[picture] = result
                continue
            findings.broken[picture] = result
            if not os.path.exists(picture):  # `Path.exists` raises for a name of 5000 letters
                findings.missing.append(picture)
    for people in splits.values():
        if people.stated_sizes is None:
            continue
        for picture, stated in zip(people.image_paths, people.stated_sizes, strict=True):
            size = findings.sizes.get(picture)
            fault = None if size is None else contradiction(picture, stated, size)
            if fault is not None:
                findings.contradicted.setdefault(picture, fault)
    return findings


def _size_or_fault(path: Path) -> tuple[int, int] | str:
    """Width and height of a picture that is whole, or what is said of another."""
    try:
        height, width = read_image(path).shape[:2]
    except InputError as error:
        return str(error)
    return width, height


def drawn_crops(findings: Findings, count: int) -> list[np.ndarray]:
    """Crops (SHEET_CROP, SHEET_CROP, 3) of people, joints drawn.

    First those in pictures of another size than stated; the others are spread evenly over the
    dataset.
    """
    doubtful: list[tuple[PoseSet, int]] = []
    others: list[tuple[PoseSet, int]] = []
    for people in findings.splits.values():
        for i, path in enumerate(people.image_paths):
            if path in findings.sizes:
                (doubtful if path in findings.contradicted else others).append((people, i))
    room = min(max(0, count - len(doubtful)), len(others))
    spread = np.linspace(0, len(others) - 1, room).astype(int)
    crops = []
    for people, i in (*doubtful[:count], *(others[k] for k in spread)):
        matrix = crop_affine(people.centers[i], float(people.sizes[i]), SHEET_CROP)
        crop = warp(read_image(people.image_paths[i]), matrix, SHEET_CROP)
        joints = np.where(people.labelled[i, :, None], people.joints[i], np.nan)
        crops.append(draw_pose(crop, apply_affine(matrix, joints), skeleton=people.skeleton))
    return crops


@outside_as_told
def check(config: DataCheckConfig, console: Console | None = None) -> None:
    """Prints the findings and writes the sheet; of several datasets below one folder, each one's.

    Raises:
        InputError: Nothing can be read, or something is missing or broken.
    """
    console = console or Console()
    check_ranges(config)
    check_targets(sheet=config.sheet, json=config.json)
    sources, problems = datasets_at(
        config.path, train_folder=config.train_folder, test_folder=config.test_folder
    )
    if len(sources) > 1:
        names = ", ".join(source.name for source in sources)
        say(console, f"{config.path} is a folder above {len(sources)} datasets: {names}")
    found = []
    for source in sources:
        try:
            findings = check_dataset(source, console, config.swap)
        except InputError as error:
            problems.append(str(error))
            continue
        tell(findings, console)
        found.append(findings.to_json())
        sheet = config.sheet
        if sheet is not None and len(sources) > 1:  # each has a name of its own
            sheet = sheet.with_stem(f"{sheet.stem}_{source.name}")
        if sheet is not None and findings.sizes:
            write_png(sheet, contact_sheet(drawn_crops(findings, config.people), 6))
            say(console, f"contact sheet: {sheet}")
        problem = findings.problem()
        if problem is not None:
            problems.append(problem)
    if config.json is not None and found:
        several = {"path": str(config.path), "datasets": found}
        write_json(config.json, several if len(sources) > 1 else found[0])
    if problems:
        raise InputError("; ".join(problems))


def tell(findings: Findings, console: Console) -> None:
    """Prints the findings: what and where, what is amiss, and a table a part."""
    facts = findings.to_json()
    official = facts["official_people"]
    lines = [f"{facts['title']} ({facts['format']}) in {facts['path']}"]
    whole = "" if official is None else f" (the complete release has {official})"
    lines.append(
        f"{counted(facts['people'], '[person|people]')} in "
        f"{counted(facts['pictures'], 'whole picture[s]')}{whole}"
    )
    gone = len(findings.missing)
    for heading, faults in (
        (
            f"{counted(gone, 'picture[s]')} missing, {len(findings.broken) - gone} broken:",
            findings.broken,
        ),
        (
            f"{counted(len(findings.contradicted), 'picture[s]')} of another size than stated, whose "
            "people train, evaluate and cache leave out:",
            findings.contradicted,
        ),
    ):
        if faults:
            reasons = list(faults.values())
            lines += [heading, *(f"  {reason}" for reason in reasons[:10])]
            if len(reasons) > 10:
                lines.append(f"  and {len(reasons) - 10} more")
    lines += [f"no {name}: {reason}" for name, reason in findings.absent.items()]
    lines += dict.fromkeys(mirror_words(people.skeleton) for people in findings.splits.values())
    lines += findings.source.notes
    if len(findings.splits) > 1:
        lines += shared_pictures(findings.splits["train"], findings.splits["test"])
    say(console, "\n".join(lines))
    for name, people in facts["splits"].items():
        said = []
        for key, words in (
            ("people", "[person|people]"),
            ("pictures", "picture[s]"),
            ("pictures_of_several", "picture[s] with several people"),
            ("head_boxes", "head box[es]"),
            ("torso_boxes", "torso box[es]"),
            ("without_labels", "[person|people] without a labelled joint"),
        ):
            if people[key]:
                said.append(counted(people[key], words))
        headings = ("labelled", "visible", "outside the picture")
        columns = (Column(heading, justify="right") for heading in headings)
        table = Table("joint", *columns, title=f"{name}: {', '.join(said)}", title_justify="left")
        for joint, counts in people["joints"].items():
            table.add_row(cell(joint.replace("_", " ")), *map(str, counts.values()))
        console.print(table)
        for note in people["notes"]:
            if note not in findings.source.notes:
                say(console, f"  {note}")


def _given(boxes: np.ndarray | None) -> int:
    return 0 if boxes is None else int(np.isfinite(boxes).all(1).sum())
