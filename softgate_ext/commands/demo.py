"""The whole of the project in two minutes: `softgate demo`, or `make demo`.

Shows what the shipped weights find in photographs. Then draws people (or takes a folder in LSP's
format), trains a small network on the first half, and shows what it does with the other half. A
finished demo is shown again rather than repeated, an interrupted one goes on where it was, and
`--fresh` starts anew.
"""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from softgate_ext.commands.demo_config import DemoConfig
from softgate_ext.commands.demo_photographs import check_pictures_of, show_photographs
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.synthetic import draw_people
from softgate_ext.errors import InputError
from softgate_ext.evaluation.measure import figures_to_json, score
from softgate_ext.figures.curves import learning_curve
from softgate_ext.figures.gate_histograms import gate_histograms
from softgate_ext.figures.sheet import draw_person
from softgate_ext.files.atomic import write_json
from softgate_ext.files.console import cell, say
from softgate_ext.files.counted import counted
from softgate_ext.files.folders import check_folder, check_outside, make_folder
from softgate_ext.files.lock import FolderLock
from softgate_ext.files.png import write_png
from softgate_ext.files.reading import read_json
from softgate_ext.inference.pose_inference import predict_people
from softgate_ext.pose.draw import contact_sheet
from softgate_ext.runs import checkpoint, places
from softgate_ext.runs.config_json import to_json
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.people import split_people
from softgate_ext.training.timing import time_steps
from softgate_ext.training.trainer import Trainer

PEOPLE = 2000
SHOWN = 24
PHOTOGRAPHS = "photographs"
REPORT = "demo.json"
BEFORE = "before.json"  # in the run's folder; also tells a demo's run from others


def training_config(config: DemoConfig, data: Path) -> TrainConfig:
    """The small network of the demo and how it is trained."""
    return TrainConfig(
        data=data,
        out=config.out / "run",
        model="hybrid_1x48",
        image_size=128,
        minutes=config.minutes,
        batch_size=16,
        optimizer="rmsprop",
        lr=1e-3,
        channels_last=True,
        watch=200,
        plots=False,  # the demo draws its own
    )


def demo(config: DemoConfig, console: Console | None = None) -> dict[str, Any]:
    """Runs the demo, or shows the one that `config.out` holds; returns its figures.

    Raises:
        InputError: the data cannot be used or the folder cannot be written to.
    """
    console = console or Console()
    data = config.data or config.out / "people"
    training = training_config(config, data)
    training.check()
    check_folder(config.out)
    check_pictures_of(config.pictures)
    path = config.out / REPORT
    report = read_json(path) if path.is_file() and not config.fresh else None
    if report is not None:
        damaged = InputError(
            f"{path} is damaged and is not the report of a demo; --fresh trains again"
        )
        if not isinstance(report, dict) or not isinstance(report.get("training"), dict):
            raise damaged
        if report["training"] == to_json(training):
            say(console, f"{config.out} holds this demo already; --fresh trains again")
            show_photographs(config.pictures, config.out / PHOTOGRAPHS, console)
            try:
                _show(report, config, console)
            except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
                raise damaged from error
            return report
    if config.data is not None:
        split_people(training)  # what cannot be used is refused before anything is removed
        check_outside(config.out, config.data)
    resumes = not config.fresh and _unfinished(training)
    if not resumes:
        _refuse_foreign(training.out)
    make_folder(config.out)
    show_photographs(config.pictures, config.out / PHOTOGRAPHS, console)
    if config.data is None:
        say(console, f"drawing {PEOPLE} people into {data}, unless they are there already")
        draw_people(data, PEOPLE, seed=0)
    if not resumes:
        _discard(training.out)
        path.unlink(missing_ok=True)
    training.resume = resumes
    report = _run(config, training, console)
    write_json(path, report)
    _show(report, config, console)
    return report


def _unfinished(training: TrainConfig) -> bool:
    """Whether the folder of the run holds this very training, to go on with."""
    run = training.out
    files = (places.STATE, places.CONFIG, BEFORE)
    return all((run / name).is_file() for name in files) and (
        checkpoint.load_config(run).training == training
    )


def _refuse_foreign(run: Path) -> None:
    """Raises InputError unless `run` is absent, empty, or holds what a demo writes and no more."""
    if not run.exists():
        return
    if run.is_symlink() or not run.is_dir():
        raise InputError(f"out: {run} is no folder of a demo; give another --out")
    names = {path.name for path in run.iterdir() if not path.name.endswith(".tmp")}
    log = run / places.LOG
    if log.is_file() and log.stat().st_size == 0:  # all there is before a demo's own mark
        names.discard(places.LOG)
    own = {*places.FILES, BEFORE}
    foreign = sorted(names - own)
    if foreign or (names and BEFORE not in names):
        what = foreign[0] if foreign else "a run"
        raise InputError(f"out: {run} holds {what}, which no demo wrote; give another --out")


def _discard(run: Path) -> None:
    """Removes the run of an earlier demo, file by file."""
    if run.is_dir():
        lock = FolderLock(run)
        try:
            for name in (*places.FILES, BEFORE):
                (run / name).unlink(missing_ok=True)
        finally:
            lock.release()


def _run(config: DemoConfig, training: TrainConfig, console: Console) -> dict[str, Any]:
    trainer = Trainer(training, console)
    before_path = training.out / BEFORE
    if not training.resume:
        write_json(before_path, trainer.watch())
    before = read_json(before_path)
    history = trainer.train()

    people, baseline = trainer.watched, trainer.baseline
    joints, scores = predict_people(trainer.inference, PoseDataset(people, training.image_size))
    chosen = np.linspace(0, len(people) - 1, min(SHOWN, len(people))).astype(int)
    drawn = [draw_person(people, i, joints[i], scores[i]) for i in chosen]
    write_png(config.out / "people.png", contact_sheet(drawn, 6))
    learning_curve(history, config.out / "learning_curve.png", baseline.main)
    gate_histograms(trainer.learner.evaluated.gates(), config.out / "gates.png")
    say(console, "timing training steps, fused and unfused in turn")
    training.resume = False
    return {
        "training": to_json(training),
        "people": len(people),
        "epochs": history[-1]["epoch"],
        "mean_pose": figures_to_json(baseline),
        "before": before,
        "after": figures_to_json(score(joints, people, baseline.protocol, scores)),
        "step_seconds": time_steps(training, len(people.skeleton)),
    }


def _show(report: dict[str, Any], config: DemoConfig, console: Console) -> None:
    table = Table(title=f"PCK@0.2 of {report['people']} unseen people, in percent")
    for name in ("joint", "constant mean pose", "before training", "after training"):
        table.add_column(name, justify="left" if name == "joint" else "right")
    columns = [report[key] for key in ("mean_pose", "before", "after")]
    for joint in columns[0]["per_joint"]:
        values = [column["per_joint"][joint] for column in columns]
        cells = ["-" if value is None else f"{value:.1f}" for value in values]
        table.add_row(cell(joint.replace("_", " ")), *cells)
    table.add_section()
    for key, title in (("mean", "plain mean of joints"), ("pooled", "pooled over joints")):
        table.add_row(title, *(f"{column[key]:.1f}" for column in columns), style="bold")
    console.print(table)
    if columns[2]["pooled"] <= columns[0]["pooled"]:
        say(
            console,
            f"{counted(report['epochs'], 'epoch[s] [was|were]')} too few to pass the mean pose: the machine was busy, "
            "or is slow; give the demo more --minutes",
        )
    fused, unfused = (report["step_seconds"][key] for key in ("auto", "reference"))
    training = report["training"]
    say(
        console,
        f"a training step of {training['model']} (batch {training['batch_size']}, "
        f"{training['image_size']} x {training['image_size']}): {1000 * fused:.0f} ms fused, "
        f"{1000 * unfused:.0f} ms unfused ({unfused / fused:.2f} times as long)",
    )
    for name in ("learning_curve.png", "people.png", "gates.png", "run"):
        say(console, f"{config.out / name}")
