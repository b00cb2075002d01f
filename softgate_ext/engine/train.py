"""Training: from a folder of people to a run that evaluates, predicts and resumes."""

import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from softgate_ext.data.augment import Augmentation
from softgate_ext.engine import checkpoint
from softgate_ext.engine.config import RunConfig, TrainConfig, to_json
from softgate_ext.engine.crop_cache import pose_dataset
from softgate_ext.engine.device import resolve_device
from softgate_ext.engine.evaluate import (
    left_out_words,
    measurable,
    measure,
    measure_mean_pose,
    pck_to_json,
)
from softgate_ext.engine.files import FolderLock, make_folder, remove_leftovers
from softgate_ext.engine.inference import PoseInference, predict_people
from softgate_ext.engine.learner import Learner
from softgate_ext.engine.loading import (
    Batch,
    EpochOrder,
    batches,
    box_margin,
    check_pictures,
    leave_ctrl_c,
    split_people,
)
from softgate_ext.engine.log import Entry, append_entry, read_log, rewind_log
from softgate_ext.engine.progress import TrainingProgress, clock, say
from softgate_ext.engine.schedule import Budget, learning_rate_factor
from softgate_ext.errors import InputError
from softgate_ext.models import PoseModel, create_model
from softgate_ext.pose.codec import HeatmapCodec


class Trainer:
    """One training, new or resumed.

    The random order, augmentation and initial weights follow from the seed, so that training N
    epochs at once and in several resumed parts gives the same weights (with `epochs`; a budget in
    `minutes` depends on the clock).

    Raises:
        InputError: the configuration, the data or the run cannot be used.
    """

    def __init__(self, config: TrainConfig, console: Console | None = None) -> None:
        config.check()
        self.config = config
        self.console = console or Console()
        self.device = resolve_device(config.device)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.lock = FolderLock(config.out) if config.out.is_dir() else None
        if not config.resume:
            _refuse_a_run(config.out)
        # Everything that can be refused is, before the first file is written.
        stored = checkpoint.load_config(config.out) if config.resume else None
        state = checkpoint.load_state(config.out) if config.resume else None
        self.train_set, self.watched = split_people(config)
        self.skeleton = self.train_set.skeleton
        torch.manual_seed(config.seed)
        options = {**config.model_options, "joints": len(self.skeleton)}
        model = create_model(config.model, **options)
        self.run = RunConfig(
            model=model.config,
            skeleton=self.skeleton.stored,
            image_size=config.image_size,
            sigma=config.sigma,
            box_margin=box_margin(self.train_set),
            training=replace(config, resume=False),
        )
        if stored is not None:
            _check_same_network(stored, self.run)
        read_log(config.out / checkpoint.LOG)
        self.baseline = measure_mean_pose(self.train_set, self.watched)
        unread = [] if config.cache else self.train_set.image_paths  # making crops reads them all
        check_pictures([*unread, *self.watched.image_paths])
        codec = HeatmapCodec(config.image_size, config.image_size // 4, config.sigma)
        _try_step(model, config, len(self.train_set))
        self.learner = Learner(model, codec, config, self.device)
        augment = Augmentation(config.scale, config.rotation, config.flip, config.colour)
        self.dataset = pose_dataset(
            self.train_set, config.image_size, config.cache, self.console, augment, config.seed
        )
        self.order = EpochOrder(len(self.train_set), config.seed)
        self.loader: DataLoader[Batch] = DataLoader(
            self.dataset,
            config.batch_size,
            sampler=self.order,
            drop_last=len(self.train_set) >= config.batch_size,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=leave_ctrl_c,
        )
        self.inference = PoseInference(
            self.learner.evaluated, codec, self.skeleton, channels_last=config.channels_last
        )
        self.epoch, self.best, self.elapsed, self.finished = 0, -1.0, 0.0, False
        if state is not None:
            self._restore(state)
        make_folder(config.out)
        if self.lock is None:
            self.lock = FolderLock(config.out)
            _refuse_a_run(config.out)
        remove_leftovers(config.out, checkpoint.FILES)
        self.history = rewind_log(config.out / checkpoint.LOG, self.epoch)
        self.configured = False

    def train(self) -> list[Entry]:
        """Trains to the end of the budget, then lets others use the folder; returns the log."""
        try:
            return self._train()
        finally:
            if self.lock is not None:
                self.lock.release()

    def _train(self) -> list[Entry]:
        config = self.config
        budget = Budget(config.epochs, config.minutes, len(self.loader), self.elapsed)
        if self.finished:
            say(self.console, f"{config.out} is trained; more --epochs or --minutes go on")
            return self.history
        say(
            self.console,
            f"{config.model}, {sum(p.numel() for p in self.learner.model.parameters()):,} "
            f"parameters, {config.image_size} x {config.image_size}; {len(self.train_set)} people "
            f"to train on, {len(self.watched)} to watch; {self.device}, amp {config.amp}",
        )
        say(self.console, f"constant mean pose: PCK@0.2 {self.baseline.pooled:.1f} % pooled")
        if left_out := int((~measurable(self.watched)).sum()):
            say(self.console, left_out_words(left_out))
        progress = TrainingProgress(self.console)
        with progress.running():
            while not self.finished:
                self._epoch(budget, progress)
        return self.history

    def _epoch(self, budget: Budget, progress: TrainingProgress) -> None:
        """One pass over the people, its evaluation, its log line and its files."""
        config, learner = self.config, self.learner
        epoch = self.epoch + 1
        self.dataset.set_epoch(epoch)
        self.order.epoch = epoch
        losses: list[float] = []
        skipped, images, waited = learner.skipped, 0, 0.0
        start = mark = time.monotonic()
        done = budget.progress(learner.steps)
        for batch in batches(self.loader):
            waited += time.monotonic() - mark
            factor = learning_rate_factor(done, config.schedule, config.warmup)
            losses.append(learner.step(batch, factor))
            images += len(batch["image"])
            done = budget.progress(learner.steps)
            mark = time.monotonic()
            left = budget.remaining(learner.steps, (mark - start) / len(losses))
            progress.update(done, epoch, images / (mark - start), left)
            if done >= 1:
                break
        seconds = time.monotonic() - start
        skipped = learner.skipped - skipped
        if skipped == len(losses):
            raise InputError(
                f"lr: at {config.lr} no step of epoch {epoch} had a finite loss and gradient; "
                "take a lower one, or --amp off"
            )
        self.epoch, self.finished = epoch, done >= 1
        entry: Entry = {
            "epoch": epoch,
            "step": learner.steps,
            "loss": float(np.nanmean(losses)),
            "lr": config.lr * factor,
            "pck": self.watch() if self.finished or epoch % config.evaluate_every == 0 else None,
            "images_per_second": round(images / seconds, 2),
            "wait_per_step": round(waited / len(losses), 5),
            "skipped": skipped,
            "elapsed": round(budget.elapsed, 2),
        }
        self.elapsed = budget.elapsed
        self._keep(entry)
        progress.line(describe(entry, budget.remaining(learner.steps, seconds / len(losses))))

    def watch(self) -> dict[str, Any]:
        """PCK@0.2 of the watched people as it stands."""
        config = self.config
        dataset = pose_dataset(self.watched, config.image_size, config.cache, self.console)
        joints, _ = predict_people(
            self.inference, dataset, max(32, self.config.batch_size), self.config.workers
        )
        return pck_to_json(measure(joints, self.watched), self.skeleton)

    def _keep(self, entry: Entry) -> None:
        """Writes what the epoch gave; the order makes every moment one to resume from."""
        out = self.config.out
        if not self.configured:  # not earlier: until then the folder holds what it held before
            checkpoint.save_config(out, self.run)
            self.configured = True
        weights = self.learner.evaluated.state_dict()
        about = {"epoch": entry["epoch"], "pck": entry["pck"]}
        checkpoint.save_weights(out / checkpoint.WEIGHTS["last"], weights, about)
        if entry["pck"] is not None and entry["pck"]["pooled"] > self.best:
            self.best = entry["pck"]["pooled"]
            checkpoint.save_weights(out / checkpoint.WEIGHTS["best"], weights, about)
        # The log may run ahead of the state, never behind: resuming drops the surplus lines.
        append_entry(out / checkpoint.LOG, entry)
        self.history.append(entry)
        checkpoint.save_state(
            out,
            {
                "learner": self.learner.state(),
                "epoch": self.epoch,
                "best": self.best,
                "elapsed": self.elapsed,
                "finished": self.finished,
            },
        )

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.learner.restore(state["learner"])
            self.epoch, self.best = state["epoch"], state["best"]
            self.elapsed, self.finished = state["elapsed"], state["finished"]
        except InputError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            path = self.config.out / checkpoint.STATE
            raise InputError(
                f"resume: {path} is damaged, not a training state of this run; put a copy of it "
                "back, or train into another folder"
            ) from error
        if self.finished:
            steps = len(self.loader)
            budget = Budget(self.config.epochs, self.config.minutes, steps, self.elapsed)
            self.finished = budget.progress(self.learner.steps) >= 1


def train(config: TrainConfig, console: Console | None = None) -> list[Entry]:
    """Trains as `config` says and returns the log, one entry an epoch.

    Raises:
        InputError: the configuration, the data or the run cannot be used.
    """
    return Trainer(config, console).train()


def describe(entry: Entry, left: float) -> str:
    """A log entry as a line to read; `left` is in seconds."""
    words = [f"epoch {entry['epoch']:3d}", f"loss {entry['loss']:.3e}"]
    if entry["pck"] is not None:
        pooled, mean = entry["pck"]["pooled"], entry["pck"]["mean"]
        words.append(f"PCK@0.2 {pooled:.1f} % pooled, {mean:.1f} % mean of joints")
    words += [
        f"lr {entry['lr']:.1e}",
        f"{entry['images_per_second']:.0f} images/s",
        f"waits {1000 * entry['wait_per_step']:.1f} ms/step",
    ]
    if entry["skipped"]:
        words.append(f"{entry['skipped']} steps skipped")
    return "  ".join([*words, f"{clock(left)} left"])


def _refuse_a_run(out: Path) -> None:
    """Raises InputError where `out` holds what a training made, whole or not."""
    if (out / checkpoint.STATE).exists():
        raise InputError(
            f"out: {out} holds a run already; add --resume to continue it, or give another folder"
        )
    for name in checkpoint.WEIGHTS.values():
        if (out / name).exists():
            raise InputError(
                f"out: {out} holds weights ({name}) but no {checkpoint.STATE} to resume from; give "
                "another folder"
            )
    if read_log(out / checkpoint.LOG):
        raise InputError(
            f"out: {out} holds the log of a run ({checkpoint.LOG}); give another folder"
        )


def _try_step(model: PoseModel, config: TrainConfig, people: int) -> None:
    """Raises InputError where the network cannot train on such images or batches.

    Two images show all that more would: what fails of itself is a normalisation that is left with
    one value per channel.
    """
    count = min(2, config.batch_size, people)
    size = config.image_size
    try:
        with torch.no_grad():
            copy.deepcopy(model).train()(torch.zeros(count, 3, size, size))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(
            f"batch_size: got {config.batch_size} of {people} people at image_size {size}, where a "
            "normalisation has one value per channel left; takes 2 or more, or larger images"
        ) from error


def _check_same_network(stored: RunConfig, asked: RunConfig) -> None:
    before, now = to_json(stored), to_json(asked)
    for entries in (before, now):
        entries["optimizer"] = entries["training"]["optimizer"]
    for name in ("model", "skeleton", "image_size", "sigma", "optimizer"):
        if before[name] != now[name]:
            raise InputError(
                f"resume: the run has {name} {before[name]}, which cannot become {now[name]}"
            )
