"""The command `softgate predict`: reads images, videos and cameras, writes drawings, JSON and CSV."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.data.images import page_count, read_image
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.files.png import write_png
from softgate_ext.inference.device import resolve_device, slow_bf16
from softgate_ext.inference.interrupts import ctrl_c_waits
from softgate_ext.pose.draw import draw_pose
from softgate_ext.pose.skeleton import Skeleton
from softgate_ext.prediction.ahead import ahead, groups
from softgate_ext.prediction.boxes import BoxList, ListedBox, meeting
from softgate_ext.prediction.frame_files import frame_files
from softgate_ext.prediction.person import Person
from softgate_ext.prediction.predict_config import PredictConfig
from softgate_ext.prediction.predictor import Located, PosePredictor
from softgate_ext.prediction.sources import (
    Reader,
    Source,
    find_sources,
    open_frames,
    run_and_images,
)
from softgate_ext.prediction.summary import Outcome, Summary
from softgate_ext.prediction.targets import keep_inputs, name_targets
from softgate_ext.prediction.tracks import Tracks

READERS = 2  # threads that read and write images while the network runs


def predict(config: PredictConfig, tell: Callable[[str], None] = lambda sentence: None) -> Outcome:
    """Finds the joints of the people in every source and writes what `config.outputs` names.

    A source that cannot be used gives a message, and the other sources are still read. Each output
    file appears when it is complete.

    Args:
        config: the options of the command.
        tell: called with each message, as it happens.

    Returns:
        What was written, what failed, and the counts of frames and people.

    Raises:
        InputError: an option, the run, the list of boxes or the output folder cannot be used, or
            an output file would overwrite an input file.
    """
    config.check()
    config.run, config.images = run_and_images(config.run, config.images)
    sources, lost = find_sources(config.images)
    summary = Summary(config.out, config.outputs, tell)
    for word, fault in lost.items():
        summary.fail(word, fault)
    if not sources:
        return summary.outcome
    batch = _Batch(config, sources, summary)
    started = time.perf_counter()
    try:
        pictures = [source for source in sources if source.kind == "picture"]
        batch.run_pictures(pictures)
        for source in sources:
            if source.kind != "picture":
                batch.run_video(source)
        batch.summary.outcome.seconds = time.perf_counter() - started
        batch.finish()
        batch.tell_others()
    except OSError as error:
        raise InputError(
            f"out: cannot write to {config.out} ({error.strerror}); "
            "give a folder that can be written to"
        ) from None
    return batch.summary.outcome


class _Batch:
    """The state of one call of `predict`: predictor, boxes, output paths and summary."""

    def __init__(self, config: PredictConfig, sources: Sequence[Source], summary: Summary) -> None:
        assert config.run is not None  # `run_and_images` sets it
        self.config, self.summary = config, summary
        self.listed: BoxList | None = None
        if config.boxes is not None:
            self.listed = BoxList(config.boxes, config.detect_score)
            for sentence in self.listed.odd:
                summary.fail(config.boxes, InputError(sentence))
        self.targets = name_targets(sources, config.out)
        keep_inputs(self.targets, config.boxes)
        config.check_folders()
        self.predictor = PosePredictor.from_pretrained(
            config.run,
            config.weights,
            config.device,
            config.amp,
            config.flip_test,
            config.detect_score if config.detect else False,
            min_score=config.min_score,
            min_box=config.min_box,
        )
        detector = self.predictor.detector
        if detector is not None and detector.note is not None:
            summary.tell(detector.note)
        if slow := slow_bf16(resolve_device(config.device), config.amp):
            summary.tell(slow)

    def run_pictures(self, sources: Sequence[Source]) -> None:
        """Predicts all images. Threads read and write while the network runs on batches of people."""
        with ThreadPoolExecutor(READERS) as pool:
            waiting: list[tuple[Source, Located]] = []
            writing: list[Future[None]] = []
            read = ahead(pool, self._locate, sources, depth=2 * READERS)
            for source, (located, faults) in zip(sources, read, strict=True):
                for fault in faults:
                    self.summary.fail(source, fault)
                if located is None:
                    continue
                assert isinstance(source.place, Path)
                if (pages := page_count(source.place)) > 1:
                    self.summary.tell(f"{source} has {pages} pages; only the first is used")
                waiting.append((source, located))
                if sum(max(1, len(one.people)) for _, one in waiting) >= self.config.batch_size:
                    writing = self._predict(pool, waiting, writing)
                    waiting = []
            for job in self._predict(pool, waiting, writing):
                job.result()

    def run_video(self, source: Source) -> None:
        """Writes the video with the poses drawn, and one line of JSON per frame."""
        try:
            with closing(open_frames(source)) as reader, ctrl_c_waits() as interrupted:
                self._run_frames(source, reader, interrupted)
        except InputError as error:
            self.summary.fail(source, error)
        except KeyboardInterrupt:
            if source.kind != "camera":  # Ctrl-C is the way to stop a camera
                raise

    def finish(self) -> None:
        """Writes predictions.json and predictions.csv, unless no source could be used."""
        if self.summary.outcome.frames:
            self.summary.write(
                {
                    "run": str(self.config.run),
                    "weights": self.config.weights,
                    "model": self.predictor.config.model["name"],
                    "skeleton": self.predictor.skeleton.name,
                    "flip_test": self.config.flip_test,
                }
            )

    def tell_others(self) -> None:
        """Reports the images that have boxes but are not among the sources."""
        own = [source.place for source in self.targets if isinstance(source.place, Path)]
        if self.listed is not None and (sentence := self.listed.others(own)):
            self.summary.tell(sentence)

    def _locate(self, source: Source) -> tuple[Located | None, list[InputError]]:
        """The image with its boxes, or None; and the errors of its boxes or of the image itself."""
        try:
            assert isinstance(source.place, Path)
            picture = read_image(source.place)
            boxes, faults = self._boxes(source, picture)
            return None if boxes == [] and faults else self._located(picture, boxes), faults
        except InputError as error:
            return None, [error]

    def _located(
        self, picture: npt.NDArray[np.uint8], boxes: Sequence[ListedBox] | None
    ) -> Located:
        if boxes is None:
            return self.predictor.locate(picture)
        located = self.predictor.locate(picture, [box.values for box in boxes])
        pairs = zip(located.people, boxes, strict=True)
        return replace(located, people=[(*asked[:2], box.score) for asked, box in pairs])

    def _boxes(
        self, source: Source, picture: npt.NDArray[np.uint8]
    ) -> tuple[list[ListedBox] | None, list[InputError]]:
        """The valid boxes of a source, None if the command gives no boxes, and the errors of others.

        Raises:
            InputError: the file of boxes has no entry for the source.
        """
        if self.config.box is not None:
            given = [ListedBox(self.config.box)]
        elif self.listed is None:
            return None, []
        elif isinstance(source.place, int):
            raise InputError(f"boxes: {self.listed.path} has no entry for {source}; use --detect")
        else:
            given = self.listed.of(source.place)
        return meeting(given, *picture.shape[1::-1])

    def _predict(
        self,
        pool: ThreadPoolExecutor,
        waiting: Sequence[tuple[Source, Located]],
        writing: Sequence["Future[None]"],
    ) -> list["Future[None]"]:
        """Predicts a batch and starts to write its drawings.

        Waits for `writing`, the jobs of the previous call, so that few drawings are in memory at once.

        Returns:
            The jobs that write.
        """
        found = self.predictor.predict([located for _, located in waiting])
        for job in writing:
            job.result()
        jobs = []
        for (source, located), people in zip(waiting, found, strict=True):
            height, width = located.picture.shape[:2]
            about = {"file": str(source), "width": width, "height": height}
            if "overlay" in self.config.outputs:
                target = self.targets[source]
                self.summary.make_folder()
                jobs.append(pool.submit(self._draw, target, located.picture, people))
                self.summary.outcome.written.append(target)
                about["overlay"] = target.name
            self.summary.entries["images"].append(
                {**about, "people": [one.to_json() for one in people]}
            )
            self.summary.add(source, people)
        return jobs

    def _run_frames(
        self,
        source: Source,
        reader: Reader,
        interrupted: Callable[[], bool],
    ) -> None:
        config, target = self.config, self.targets[source]
        frames = islice(reader, config.max_frames)
        first = next(frames)
        boxes, faults = self._boxes(source, first.picture)
        for fault in faults:
            self.summary.fail(source, fault)
        if boxes == [] and faults:
            return
        height, width = first.picture.shape[:2]
        self.summary.make_folder()
        # A camera's frames are predicted one by one, so that the result is not delayed.
        together = 1 if source.kind == "camera" else config.batch_size
        tracks = Tracks(config.smooth)
        number = 0
        with frame_files(target, config.outputs, reader.rate, height, width, self._drawn) as files:
            for group in groups(chain([first], frames), together):
                located = [self._located(frame.picture, boxes) for frame in group]
                for frame, found in zip(group, self.predictor.predict(located), strict=True):
                    people = tracks.follow(found, frame.seconds)
                    files.write(number, frame, people)
                    self.summary.add(source, people, number, f"{frame.seconds:.4f}")
                    number += 1
                if interrupted():
                    break
            if interrupted() and source.kind != "camera":
                raise KeyboardInterrupt
        if reader.cut:
            words = f"{source} is cut short or damaged; {counted(number, 'frame[s] [is|are] used')}"
            self.summary.fail(source, InputError(words))
        self.summary.outcome.written += files.paths
        about = {"file": str(source), "width": width, "height": height, "rate": reader.rate}
        self.summary.entries["videos"].append(
            {**about, "frames": number, "written": [path.name for path in files.paths]}
        )

    def _drawn(
        self, picture: npt.NDArray[np.uint8], people: Sequence[Person]
    ) -> npt.NDArray[np.uint8]:
        return draw_people(picture, people, self.predictor.skeleton)

    def _draw(self, target: Path, picture: npt.NDArray[np.uint8], people: Sequence[Person]) -> None:
        write_png(target, self._drawn(picture, people))


def draw_people(
    picture: npt.NDArray[np.uint8],
    people: Iterable[Person],
    skeleton: Skeleton,
) -> npt.NDArray[np.uint8]:
    """A copy of the image (H, W, 3) with the poses of all people drawn on it."""
    canvas = picture
    for person in people:
        canvas = draw_pose(canvas, person.joints, person.shown, skeleton)
    return canvas
