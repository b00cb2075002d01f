"""`softgate study`: variants of a network trained alike, a row a run, a table and a plot."""

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Column, Table

from softgate_ext.commands.study_config import StudyConfig
from softgate_ext.commands.study_rows import Row, read_rows, spread, verdict, write_rows
from softgate_ext.commands.study_variants import Variant, network, variants_of
from softgate_ext.commands.training_account import commit_named
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.figures.study_plot import study_plot
from softgate_ext.files.console import cell, say
from softgate_ext.files.folders import check_folder, check_outside, make_folder
from softgate_ext.files.lock import FolderLock
from softgate_ext.models.profile import profile
from softgate_ext.ops.processor import cpu_name
from softgate_ext.ranges import check_ranges
from softgate_ext.runs import places
from softgate_ext.runs.config_json import to_json
from softgate_ext.runs.opening import load_run
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.people import split_people
from softgate_ext.training.trainer import train

ROWS = "rows.jsonl"
# Where a run lies and what it ran on; its figure follows from the rest.
PLACES = ("out", "cache", "resume", "threads", "plots")
Planned = tuple[str, TrainConfig, dict[str, Any]]  # variant, training, what its figure follows from


def study(config: StudyConfig, console: Console | None = None) -> dict[str, list[Row]]:
    """Trains what is not done yet, and shows the rows; returns them by variant.

    Raises:
        InputError: an option, the data or the folder cannot be used.
    """
    check_ranges(config)
    check_folder(config.out)
    variants = variants_of(config.study, config.model, config.image_size)
    plan = [
        _planned(config, name, variant, seed)
        for seed in range(config.seeds)  # outermost: what is stopped early has seeds of all
        for name, variant in variants.items()
    ]
    console = console or Console()
    rows = read_rows(config.out / ROWS)
    if not config.show and any(_find(rows, what) is None for _, _, what in plan):
        check_outside(config.out, config.data)
        training = plan[0][1]
        training.check()
        split_people(training)  # what cannot be used is refused before a folder is made
        make_folder(config.out)
        lock = FolderLock(config.out)
        try:
            rows = _run(config, plan, console)
        finally:
            lock.release()
    found: dict[str, list[Row]] = {name: [] for name in variants}
    for name, _, what in plan:
        row = _find(rows, what)
        found[name] += [] if row is None else [row]
    if not any(found.values()):
        raise InputError(
            f"out: got {config.out}, which holds no row of this study; leave out --show to train"
        )
    _show(config, found, console)
    return found


def _planned(config: StudyConfig, name: str, variant: Variant, seed: int) -> Planned:
    """How a variant is trained, as by `softgate train`."""
    model = variant.model or config.model
    training = TrainConfig(
        data=config.data,
        out=config.out,
        cache=config.out / "crops",
        model=model,
        model_options=variant.network,
        image_size=config.image_size,
        epochs=config.epochs,
        batch_size=config.batch_size,
        optimizer="adamw",
        lr=config.lr,
        evaluate_every=config.epochs,
        seed=seed,
        workers=0,  # whose seconds would not be counted
        amp="off",
        channels_last=True,
        threads=config.threads,
        plots=False,
    )
    training = dataclasses.replace(training, **variant.training)
    # All options of the network, so that a default and the same value said aloud are one row.
    what = {name: value for name, value in to_json(training).items() if name not in PLACES}
    what |= {"data": config.data.name, "model": network(model, variant.network)}
    what = json.loads(json.dumps({k: v for k, v in what.items() if k != "model_options"}))
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    words = re.sub(r"[^a-z0-9.]+", "-", f"{config.study} {name} seed {seed} {digest[:8]}")
    training.out = config.out / "runs" / words
    return name, training, what


def _find(rows: Sequence[Row], what: dict[str, Any]) -> Row | None:
    return next((row for row in rows if _same(row.configuration, what)), None)


def _same(stored: Any, asked: Any) -> bool:
    """Whether all that is stored is as asked; an option that came later is not in an older row."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        return all(_same(value, asked.get(name)) for name, value in stored.items())
    return bool(stored == asked)


def _run(config: StudyConfig, plan: Sequence[Planned], console: Console) -> list[Row]:
    """Trains each of the plan that has no row yet; each row is written as soon as it is there."""
    path = config.out / ROWS
    rows = read_rows(path)
    for number, (name, training, what) in enumerate(plan, 1):
        if _find(rows, what) is not None:
            continue
        row = _row(training, what)
        rows.append(row)
        write_rows(path, rows)
        busy = "" if row.cpu_seconds is None else f", {row.cpu_seconds:.0f} s of CPU"
        say(
            console,
            f"{config.study}, run {number} of {len(plan)}: {name}, seed {training.seed}: "
            f"{row.metric} {row.pck:.2f} after {row.steps} steps{busy}",
        )
    return rows


def _row(training: TrainConfig, what: dict[str, Any]) -> Row:
    out = training.out
    training.resume = (out / places.STATE).is_file()
    if not training.resume and out.is_dir():
        shutil.rmtree(out)  # stopped in its first epoch, of which nothing can be continued
    start = time.process_time()
    (*_, last) = train(training, Console(quiet=True))
    seconds = time.process_time() - start
    # Not what the training watched, which comes from kept crops: what `softgate evaluate` prints.
    result = evaluate(EvalConfig(out, training.data, workers=0))
    model, run, _ = load_run(out)
    cost = profile(model, run.image_size).total
    try:
        commit = commit_named("HEAD")
    except InputError:  # an installed package
        commit = None
    return Row(
        configuration=what,
        run=out.name,
        steps=last["step"],
        metric=result.protocol.metric,
        pck=round(result.scores["network"].main, 4),
        parameters=cost.parameters,
        macs=cost.macs,
        cpu_seconds=None if training.resume else round(seconds, 1),
        elapsed=last["elapsed"],
        commit=commit,
        machine={
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "load": round(os.getloadavg()[0], 1),
        },
    )


def _show(config: StudyConfig, found: Mapping[str, Sequence[Row]], console: Console) -> None:
    """The table, as Markdown, the verdict and the plot."""
    rows = [row for runs in found.values() for row in runs]
    figures = {name: [row.pck for row in runs] for name, runs in found.items()}
    title = (
        f"{config.study}: {config.data.name}, {config.image_size} x {config.image_size}, "
        f"{config.epochs} epochs"
    )
    names = ("seeds", "parameters", "MMAC", f"{rows[0].metric}, mean", "sd", "lowest", "highest")
    columns = (Column(name, justify="right") for name in (*names, "CPU s a run"))
    table = Table(config.study, *columns, box=box.MARKDOWN)
    for name, runs in found.items():
        if not runs:
            table.add_row(cell(name), "0", *["not run"] + ["-"] * 6)
            continue
        pck = figures[name]
        values = (statistics.fmean(pck), spread(pck), min(pck), max(pck))
        busy = [row.cpu_seconds for row in runs if row.cpu_seconds is not None]
        table.add_row(
            cell(name),
            str(len(runs)),
            f"{runs[0].parameters:,}",
            f"{runs[0].macs / 1e6:.1f}",
            *("-" if math.isnan(value) else f"{value:.2f}" for value in values),
            f"{statistics.fmean(busy):.0f}" if busy else "-",
        )
    say(console, title)
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table, soft_wrap=True)
    say(console, verdict(figures, config.seeds))
    path = config.out / f"{config.study}.png"
    study_plot(figures, rows[0].metric, title, path)
    say(console, str(path))
