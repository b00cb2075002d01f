"""The training loop: epochs, evaluation of the watched samples, and the files of the run."""

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from softgate_ext.data.augment import Augmentation
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.outside import outside_as_told
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.measure import calibrated, figures_to_json, score
from softgate_ext.figures.sheet import plot_sheet
from softgate_ext.files.console import say
from softgate_ext.inference.batches import in_one_sentence
from softgate_ext.inference.device import resolve_device
from softgate_ext.inference.interrupts import ctrl_c_waits
from softgate_ext.inference.pose_inference import PoseInference, predict_crops
from softgate_ext.runs import places
from softgate_ext.runs.log import Entry
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.run_folder import RunFolder
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.crop_cache import cached_crops
from softgate_ext.training.introduction import opening_lines
from softgate_ext.training.learner import Learner
from softgate_ext.training.order import training_loader, watching_loader
from softgate_ext.training.preflight import prepare
from softgate_ext.training.processes import Group, joined
from softgate_ext.training.progress import TrainingProgress, describe_epoch
from softgate_ext.training.resume import standing, who
from softgate_ext.training.schedule import Budget, learning_rate_factor
from softgate_ext.training.tensorboard import Board, require_tensorboard


class Trainer:
    """One training, new or resumed, by one process or by several.

    The order of the samples, the augmentation and the initial weights depend on the seed alone. N
    epochs at once therefore give the same weights as N epochs in several resumed parts. (A length in
    `minutes` depends on the clock.) The number of processes changes none of this: with `sync_bn`,
    several processes make the same steps as one, except for rounding.

    Args:
        config: the options of the command.
        console: where the first process prints.
        group: the processes; None for this process alone.

    Raises:
        InputError: the configuration, the data or the run cannot be used.
    """

    def __init__(
        self, config: TrainConfig, console: Console | None = None, group: Group | None = None
    ) -> None:
        self.config = config
        self.group = Group(resolve_device(config.device)) if group is None else group
        self.console = (console or Console()) if self.group.leads else Console(quiet=True)
        self.folder = RunFolder(config.out)
        self.board: Board | None = None
        # Every fault that can be found is found before the first file is written.
        stored, state = self.group.from_first(self._open_run)
        with self.group.together():
            self.train_set, self.watched, self.order, model, self.run, self.baseline = prepare(
                config, stored, self.group, self.console
            )
        self.skeleton = self.train_set.skeleton
        codec = model.codec(config.image_size, config.sigma)
        self.learner = Learner(model, codec, config, self.group)
        augment = Augmentation(config.scale, config.rotation, config.flip, config.colour)
        with self.group.together():
            self.dataset = self._dataset(self.train_set, augment)
        self.loader = training_loader(self.dataset, self.order, config.workers, self.group.device)
        self.inference = PoseInference(
            self.learner.evaluated, codec, self.skeleton, channels_last=self.learner.channels_last
        )
        self.people = who(self.train_set, self.watched)
        self.history: list[Entry] = []
        self.predicted: np.ndarray | None = None  # joints of the watched samples, (N, J, 2)
        self.epoch, self.best, self.elapsed, self.finished = 0, -1.0, 0.0, False
        with self.group.together():
            if stored is not None and state is not None:
                self._restore(stored, state)
            if self.group.leads:
                self.history = self.folder.claim(self.epoch)

    def _open_run(self) -> tuple[RunConfig | None, dict[str, Any] | None]:
        self.config.check()
        if self.config.tensorboard:
            require_tensorboard()
        return self.folder.open(self.config.resume)

    def _dataset(self, people: PoseSet, augment: Augmentation | None = None) -> PoseDataset:
        """The crops of `people`, from the cache if the command names one."""
        config, crops = self.config, None
        if config.cache is not None:
            crops = cached_crops(people, config.image_size, augment, config.cache, self.console)
        return PoseDataset(people, config.image_size, augment, config.seed, crops)

    @cached_property
    def watching(self) -> DataLoader[Any] | None:
        """This process's share of the watched samples; None where there are fewer than processes."""
        with self.group.together():
            dataset = self._dataset(self.watched)
        return watching_loader(dataset, self.group, self.config)

    def train(self) -> list[Entry]:
        """Trains to the end of the budget and releases the lock of the run's folder.

        Returns:
            The log, one entry per epoch; empty in all processes but the first.
        """
        try:
            with ctrl_c_waits() as interrupted:
                self._train(interrupted)
            return self.history
        finally:
            self.folder.release()
            if self.board is not None:
                self.board.close()

    def _train(self, interrupted: Callable[[], bool]) -> None:
        config, group = self.config, self.group
        steps = len(self.order)
        budget = Budget(config.epochs, config.minutes, steps, self.elapsed, config.schedule)
        if self.finished:
            say(
                self.console,
                f"{config.out} has finished its training; more --epochs or --minutes continue it",
            )
            if not group.from_first((config.out / places.PLOTS).exists):
                self._plot()  # the process that trained it ended before it could plot
            return
        parameters = sum(p.numel() for p in self.learner.model.parameters())
        people = self.train_set, self.watched
        for line in opening_lines(config, group, parameters, *people, self.baseline):
            say(self.console, line)
        if config.tensorboard and group.leads:
            self.board = Board(config.out / "tensorboard", self.epoch)
        progress = TrainingProgress(self.console)
        if self.watching is not None:
            iter(self.watching)  # starts its worker processes
        with progress.running():
            while not self.finished:
                self._epoch(budget, progress, interrupted)
        self._plot()

    def _plot(self) -> None:
        """Draws the plot sheet, unless the command switched it off."""
        if not self.config.plots:
            return
        if self.predicted is None:
            self.watch()
        if self.group.leads and self.predicted is not None:
            path = self.config.out / places.PLOTS
            gates = self.learner.evaluated.gates()
            seen = self.watched, self.predicted
            plot_sheet(path, self.history, self.baseline, *seen, self.inference, gates)
            say(self.console, str(path))

    def _epoch(
        self, budget: Budget, progress: TrainingProgress, interrupted: Callable[[], bool]
    ) -> None:
        """One pass over the samples, its evaluation, its log entry and its files."""
        config, learner = self.config, self.learner
        epoch = self.epoch + 1
        self.dataset.set_epoch(epoch)
        self.order.epoch = epoch
        losses: list[float] = []
        people = len(self.train_set) / len(self.order)  # samples in a step, on average
        skipped, waited = learner.skipped, 0.0
        start = mark = time.monotonic()
        # The learner's own count may differ, if a resume changed the size of the batches.
        passed = self.epoch * len(self.order)
        done = self._agree(budget, passed, interrupted)
        for batch in in_one_sentence(self.loader):
            waited += time.monotonic() - mark
            factor = learning_rate_factor(done, config.schedule, config.warmup)
            losses.append(learner.step(batch, factor))
            passed += 1
            done = self._agree(budget, passed, interrupted)
            mark = time.monotonic()
            seconds = (mark - start) / len(losses)
            left = budget.remaining(passed, seconds)
            progress.update(done, epoch, people / seconds, waited / len(losses), left)
            if done >= 1:
                break
        seconds = (time.monotonic() - start) / len(losses)
        skipped = learner.skipped - skipped
        if skipped == len(losses):
            raise self.group.refuse(
                f"lr: at {config.lr} no step of epoch {epoch} had a finite loss and gradient; "
                "take a lower one, or --amp off"
            )
        learner.share_statistics()
        self.epoch, self.finished = epoch, done >= 1
        entry: Entry = {
            "epoch": epoch,
            "step": learner.steps,
            "loss": float(np.nanmean(losses)),
            "lr": config.lr * factor,
            "watched": self.watch()
            if self.finished or epoch % config.evaluate_every == 0
            else None,
            "images_per_second": round(people / seconds, 2),
            "wait_per_step": round(waited / len(losses), 5),
            "skipped": skipped,
            "processes": self.group.size,
            "elapsed": round(budget.elapsed, 2),
        }
        self.elapsed = budget.elapsed
        if self.group.leads:
            self._keep(entry)
        say(self.console, describe_epoch(entry, budget.remaining(passed, seconds)))

    def _agree(self, budget: Budget, passed: int, interrupted: Callable[[], bool]) -> float:
        """The share that is done after `passed` steps, by the first process's clock.

        Raises:
            KeyboardInterrupt: in all processes, if one of them was interrupted.
        """
        done = budget.progress(passed)
        own = torch.tensor([done * self.group.leads, float(interrupted())], dtype=torch.float64)
        done, interruptions = self.group.total(own).tolist()
        if interruptions:
            raise KeyboardInterrupt
        return done

    def watch(self) -> dict[str, Any]:
        """The scores of the current network on the watched samples, as the log stores them."""
        group, people = self.group, self.watched
        found = np.empty((0, len(self.skeleton), 3))  # x, y and score
        if self.watching is not None:
            found = np.dstack(predict_crops(self.inference, self.watching))
        joints = np.empty((len(people), *found.shape[1:]))
        for rank, part in enumerate(group.gather(found)):
            joints[rank :: group.size] = part
        self.predicted, sure = joints[..., :2], joints[..., 2]
        protocol = self.baseline.protocol
        figures = figures_to_json(score(self.predicted, people, protocol, sure))
        if (
            self.learner.evaluated.gives != "heatmaps"
        ):  # regressed joints have no score to calibrate
            return figures
        calibration = calibrated(self.predicted, sure, people, protocol)
        return {**figures, "calibration": calibration.to_json()}

    def _keep(self, entry: Entry) -> None:
        """Adds the epoch to the log and writes weights and training state."""
        self.history.append(entry)
        found = entry["watched"]
        best = found is not None and found["main"] > self.best
        if best:
            self.best = found["main"]
        state = {
            "learner": self.learner.state(),
            "people": self.people,
            "epoch": self.epoch,
            "best": self.best,
            "elapsed": self.elapsed,
        }
        self.folder.keep(self.run, entry, self.learner.evaluated.state_dict(), best, state)
        if self.board is not None:
            self.board.write(entry)

    def _restore(self, stored: RunConfig, state: dict[str, Any]) -> None:
        try:
            at = standing(self.config, stored, state, self.people, len(self.order))
            self.epoch, self.best, self.elapsed, self.finished = at
            self.learner.restore(state["learner"])
        except InputError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            path = self.config.out / places.STATE
            raise InputError(
                f"resume: {path} is damaged, not a training state of this run; put a copy of it "
                "back, or train into another folder"
            ) from error


@outside_as_told
def train(config: TrainConfig, console: Console | None = None) -> list[Entry]:
    """Trains with the options of `config` and returns the log, one entry per epoch.

    Under `torchrun` every process calls this function; only the first writes files and prints.

    Raises:
        InputError: the configuration, the data or the run cannot be used.
        Elsewhere: another process failed.
    """
    with joined(config.device) as group:
        return Trainer(config, console, group).train()
