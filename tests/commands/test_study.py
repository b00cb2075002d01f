"""Studies: rows that are kept, trainings that are resumed, and verdicts."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from softgate_ext.commands import study as module
from softgate_ext.commands.study import study
from softgate_ext.commands.study_config import StudyConfig
from softgate_ext.commands.study_rows import read_rows, verdict
from softgate_ext.commands.study_variants import STUDIES, Variant, network, variants_of
from softgate_ext.data.images import read_image
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.models import create_model
from softgate_ext.runs import checkpoint


@pytest.fixture
def small(people: Path, tmp_path: Path, one_thread: None) -> StudyConfig:
    return StudyConfig("gates", people, tmp_path / "out", seeds=1, epochs=2, batch_size=8)


@pytest.fixture(scope="module")
def finished(people: Path, tmp_path_factory: pytest.TempPathFactory, quiet: Console) -> Path:
    """The folder of that study when nothing stopped it; tests must leave it as it is."""
    out = tmp_path_factory.mktemp("finished") / "out"
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as `one_thread`
    study(StudyConfig("gates", people, out, seeds=1, epochs=2, batch_size=8), quiet)
    torch.set_num_threads(before)
    return out


def refuse(*_: Any) -> None:
    raise AssertionError("nothing is left to train")


def test_rows_are_measured_kept_and_shared(
    small: StudyConfig,
    finished: Path,
    people: Path,
    quiet: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(finished, small.out)
    with monkeypatch.context() as patch:
        patch.setattr(module, "train", refuse)
        found = study(small, quiet)
    rows = read_rows(small.out / "rows.jsonl")
    assert rows == [row for runs in found.values() for row in runs] and len(rows) == 3
    for row, gate in zip(rows, ("none", "block", "channel"), strict=True):
        again = evaluate(EvalConfig(small.out / "runs" / row.run, people, workers=0, device="cpu"))
        assert again.scores["network"].main == pytest.approx(row.pck, abs=1e-4)
        assert row.steps == 2 and row.configuration["model"]["gate"] == gate
        assert row.cpu_seconds is not None and row.cpu_seconds > 0 and row.macs > row.parameters
    sizes = [row.parameters for row in rows]
    model = create_model("hybrid_1x32", joints=14)
    assert sizes[2] == sum(p.numel() for p in model.parameters())
    assert sizes[2] - sizes[0] == sum(alpha.numel() for alpha in model.gates().values())
    assert read_image(small.out / "gates.png").std() > 5

    study(replace(small, study="alpha"), quiet)  # of which alpha = 0 is the gate a channel
    assert len(read_rows(small.out / "rows.jsonl")) == 5
    monkeypatch.setattr(module, "train", refuse)
    assert study(small, quiet) == found


@pytest.mark.parametrize("written", [True, False], ids=["after its state", "before its state"])
def test_a_stopped_row_goes_on_where_it_was(
    written: bool,
    small: StudyConfig,
    finished: Path,
    quiet: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save, saved = checkpoint.save_state, []

    def stopped(folder: Path, state: Any) -> None:
        saved.append(folder)
        if len(saved) == 3 and not written:  # its weights are there
            raise KeyboardInterrupt
        save(folder, state)
        if len(saved) == 3:  # the first epoch of the second variant
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_state", stopped)
    with pytest.raises(KeyboardInterrupt):
        study(small, quiet)
    (kept,) = read_rows(small.out / "rows.jsonl")
    found = study(small, quiet)
    assert found["none"] == [kept]
    assert len(saved) == 3 + (3 if written else 4)  # no epoch twice but one that was lost
    assert [row.pck for runs in found.values() for row in runs] == [
        row.pck for row in read_rows(finished / "rows.jsonl")
    ]
    assert (found["a block"][0].cpu_seconds is None) == written


def test_what_is_not_run_is_said(small: StudyConfig, finished: Path) -> None:
    first, *_ = (finished / "rows.jsonl").read_text().splitlines()
    small.out.mkdir()
    (small.out / "rows.jsonl").write_text(first + "\n")
    console = Console(record=True, width=60, file=open("/dev/null", "w"))  # noqa: SIM115
    found = study(replace(small, show=True), console)
    assert [len(runs) for runs in found.values()] == [1, 0, 0]
    text = console.export_text()
    assert text.count("not run |") == 2
    assert "No verdict: not all of 1 seeds were run of a block; a channel." in text


@pytest.mark.parametrize(
    ("figures", "seeds", "words"),
    [
        ({"a": [3.0, 2.0], "b": [1.0, 1.5]}, 2, "a wins"),
        ({"a": [3.0, 2.0], "b": [1.0, 2.0], "c": [0.0, 1.0]}, 2, "runs of b reach those of a"),
        ({"a": [3.0, 2.0], "b": [1.0]}, 2, "not all of 2 seeds were run of b"),
        ({"a": [3.0], "b": [1.0]}, 1, "one seed has no spread"),
    ],
    ids=["apart", "touching", "not run", "one seed"],
)
def test_a_verdict(figures: dict[str, list[float]], seeds: int, words: str) -> None:
    assert words in verdict(figures, seeds)


def test_variants_differ_in_what_is_asked_alone() -> None:
    base = network("hybrid_1x32", {})
    asked = {"gates": {"gate"}, "alpha": {"alpha_init"}, "fusion": {"fusion", "groups"}}
    for name in STUDIES:
        variants = variants_of(name, "hybrid_1x32", 64).values()
        if name == "recipe":
            (recipe, *others) = variants
            assert all(len(_unlike(recipe, other)) in (1, 2) for other in others)
            continue
        if name == "regression":
            sizes = [network(v.model or "hybrid_1x32", v.network)["width"] for v in variants]
            assert sizes == 4 * [32] and [v.model for v in variants].count(None) == 2
            continue
        each = [network("hybrid_1x32", variant.network) for variant in variants]
        assert base in each and all(each.count(one) == 1 for one in each)
        if name in asked:
            assert all(one | {k: base[k] for k in asked[name]} == base for one in each)


def _unlike(one: Variant, other: Variant) -> dict[str, Any]:
    mine, others = ({**v.network, **v.training} for v in (one, other))
    return {key: others.get(key) for key in mine | others if mine.get(key) != others.get(key)}


def test_hourglasses_are_of_the_size_that_they_are_called() -> None:
    hybrid, equal, large = (
        sum(p.numel() for p in create_model("hybrid_1x32", **variant.network).parameters())
        for variant in variants_of("architecture", "hybrid_1x32", 64).values()
    )
    assert equal == pytest.approx(hybrid, rel=0.25) and large == pytest.approx(3 * hybrid, rel=0.15)


def damaged(config: StudyConfig, line: str) -> StudyConfig:
    config.out.mkdir()
    (config.out / "rows.jsonl").write_text(line + "\n")
    return config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: replace(c, model="hybrid_9x9"), "model must be one of .*, got 'hybrid_9x9'"),
        (
            lambda c: replace(c, study="fusion", model="deeppose_1x48"),
            "deeppose_1x48 has no option",
        ),
        (lambda c: replace(c, image_size=60), "divisible by 64.*got image_size 60"),
        (lambda c: replace(c, seeds=0), "seeds: got 0; takes a whole number"),
        (lambda c: replace(c, data=Path("absent")), "data: got absent"),
        (lambda c: replace(c, out=c.data / "out"), "lies inside the dataset"),
        (lambda c: replace(c, show=True), "holds no row of this study"),
        (lambda c: damaged(c, '{"pck": 1'), "rows.jsonl: line 1 is no row of a study"),
        (lambda c: damaged(c, json.dumps({"pck": 1.0})), "rows.jsonl: line 1: "),
    ],
)
def test_what_is_refused_trains_nothing(
    small: StudyConfig,
    quiet: Console,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[StudyConfig], StudyConfig],
    words: str,
) -> None:
    monkeypatch.setattr(module, "train", refuse)
    config = change(small)
    there = config.out.exists()
    with pytest.raises(InputError, match=words) as caught:
        study(config, quiet)
    assert "\n" not in str(caught.value) and config.out.exists() == there


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_holds_the_tables_of_the_rows(name: Any, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    rows = root / "benchmarks" / "results" / "study" / "rows.jsonl"
    (tmp_path / "rows.jsonl").write_bytes(rows.read_bytes())
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    study(StudyConfig(name, Path("lsp_dataset"), tmp_path, show=True), console)
    page = (root / "docs" / "paper.md").read_text(encoding="utf-8")
    said = console.export_text().splitlines()
    assert [
        line for line in said if line.startswith(("|", "No ")) and line.strip() not in page
    ] == []
