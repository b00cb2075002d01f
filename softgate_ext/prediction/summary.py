"""The results of all images and frames, collected for predictions.json and predictions.csv."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from softgate_ext.files.atomic import write_json, write_text
from softgate_ext.files.counted import counted
from softgate_ext.files.folders import make_folder
from softgate_ext.prediction.person import Person
from softgate_ext.prediction.predict_config import Output
from softgate_ext.prediction.sources import Source

COLUMNS = tuple(
    [
        "file",
        "frame",
        "seconds",
        "person",
        "track",
        "x",
        "y",
        "w",
        "h",
        "joint",
        "joint_x",
        "joint_y",
        "score",
    ]
)
SUMMARIES = ("predictions.json", "predictions.csv")


@dataclass
class Outcome:
    """The outcome of `predict`.

    Attributes:
        written: the files, in the order of the sources; then predictions.json and .csv.
        failed: a message for each source, or box, that could not be used.
        frames: number of images and frames that were read.
        people: number of people in them.
        seconds: time that this took, without loading the network.
    """

    written: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    frames: int = 0
    people: int = 0
    seconds: float = 0.0

    def throughput(self) -> str:
        """A line with the numbers of images and people, in all and per second."""
        rate = self.frames / max(self.seconds, 1e-9)
        return (
            f"{counted(self.frames, 'picture[s]')}, {counted(self.people, '[person|people]')} in {self.seconds:.2f} s: "
            f"{rate:.1f} pictures/s, {self.people / max(self.seconds, 1e-9):.1f} people/s"
        )


class Summary:
    """The people of all sources, and messages about the sources that could not be used.

    Args:
        out: the output folder, which is created when there is something to write.
        outputs: which of `json` and `csv` are wanted.
        tell: called with the message of each failure.
    """

    def __init__(self, out: Path, outputs: Sequence[Output], tell: Callable[[str], None]) -> None:
        self.out, self.outputs, self.tell = out, outputs, tell
        self.outcome = Outcome()
        self.entries: dict[str, list[Any]] = {"images": [], "videos": [], "failed": []}
        self._rows: list[tuple[Any, ...]] = []
        self._made = False

    def add(
        self, source: Source, people: Sequence[Person], frame: int | str = "", seconds: str = ""
    ) -> None:
        """Adds the people of an image, or of a frame of a video with its number and time."""
        self.outcome.frames += 1
        self.outcome.people += len(people)
        if "csv" not in self.outputs:
            return
        for index, person in enumerate(people):
            track = "" if person.track is None else person.track
            about = source, frame, seconds, index, track, *(f"{value:g}" for value in person.box)
            for name, (x, y), score in zip(person.names, person.joints, person.scores, strict=True):
                where = f"{x:.3f}", f"{y:.3f}", f"{score:.4f}"
                self._rows.append((*about, name, *where))

    def fail(self, source: Source | Path | str, error: Exception) -> None:
        """Records and reports that a source, or a part of it, cannot be used."""
        sentence = str(error)
        if str(source) not in sentence:
            sentence = f"{source}: {sentence}"
        self.outcome.failed.append(sentence)
        self.entries["failed"].append({"file": str(source), "error": sentence})
        self.tell(sentence)

    def make_folder(self) -> None:
        """Creates the output folder at the first call."""
        if not self._made:
            make_folder(self.out)
            self._made = True

    def write(self, about: dict[str, Any]) -> None:
        """Writes predictions.json, which starts with the entries of `about`, and predictions.csv."""
        self.make_folder()
        if "json" in self.outputs:
            write_json(self.out / SUMMARIES[0], {**about, **self.entries})
            self.outcome.written.append(self.out / SUMMARIES[0])
        if "csv" in self.outputs:
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(self._rows)
            write_text(self.out / SUMMARIES[1], text.getvalue())
            self.outcome.written.append(self.out / SUMMARIES[1])
