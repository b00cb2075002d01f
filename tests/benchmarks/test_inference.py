"""The benchmark of inference: processes that take turns, the result file, and the table in the docs."""

import copy
import json
import multiprocessing
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import inference, inference_table, rivals, turns
from softgate_ext import InputError

CASE = rivals.Case("hybrid_1x32", 64, 1, 1)
NOWHERE = Path("no.onnx")  # for rivals that read no file


def row(winograd: float, openvino: float, **case: object) -> dict:
    seconds = {
        n: {"median": 1.5 * t, "shortest": t}
        for n, t in {"winograd": winograd, "openvino": openvino}.items()
    }
    return {**vars(CASE), "rounds": 3, "clock": "wall", "load": 0.5, "seconds": seconds, **case}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "inference.json"
    stored = {"machine": inference.describe(), "rows": [row(0.9, 1.0)]}
    path.write_text(json.dumps(stored))
    return path


def test_the_page_holds_the_table_of_the_file() -> None:
    page = inference.PAGE.read_text(encoding="utf-8")
    block = page.split(inference_table.BEGIN)[1].split(inference_table.END)[0]
    assert block.strip() == inference_table.table(inference.OUT)


def test_the_file_holds_both_models_beside_their_peers() -> None:
    rows = inference_table.read_rows(inference.OUT)
    wanted = rivals.RIVALS.keys() - {"compile", "winograd-bfloat16"}  # as the page says
    for name, batch in (("hybrid_2x48", 1), ("hybrid_2x48", 8), ("hybrid_4x144", 1)):
        assert rows[name, 256, batch, 1]["seconds"].keys() >= wanted


@pytest.mark.slow
def test_cases_are_appended_and_replaced(tmp_path: Path) -> None:
    out = tmp_path / "new" / "inference.json"
    arguments = {"models": ("hybrid_1x32",), "sizes": (64,), "batches": (1,), "threads": (1,)}
    few = {**arguments, "rivals": ("eager", "winograd"), "out": out}
    inference.main(**few, rounds=1)
    first = json.loads(out.read_text())
    assert first["rows"][0].items() >= {**vars(CASE), "rounds": 1}.items()
    assert first["rows"][0]["seconds"].keys() == {"eager", "winograd"}
    other = row(0.9, 1.0, model="hybrid_4x144")
    out.write_text(json.dumps({**first, "rows": [*first["rows"], other]}))
    inference.main(**few, rounds=2)
    rows = json.loads(out.read_text())["rows"]
    assert [r["rounds"] for r in rows] == [2, 3] and rows[1] == other


def test_a_process_answers_each_run_with_seconds() -> None:
    ours, theirs = multiprocessing.Pipe()
    threads_before = torch.get_num_threads()
    worker = threading.Thread(target=turns.serve, args=(theirs, "direct", CASE, NOWHERE))
    worker.start()
    assert ours.recv().shape == (1, 16, 16, 16)
    for _ in range(2):
        ours.send(turns.RUN)
        assert 0 < ours.recv() < 60
    ours.send(turns.STOP)
    worker.join(30)
    torch.set_num_threads(threads_before)
    assert not worker.is_alive() and not ours.poll()


def test_a_process_that_ends_is_said() -> None:
    with turns.Turns(["direct"], CASE, NOWHERE) as race:
        race.round()
        assert len(race.seconds["direct"]) == 1
        race._processes[0].kill()
        race._processes[0].join()
        with pytest.raises(InputError, match=r"^the process of direct ended during hybrid_1x32"):
            race.round()
    assert not race._processes[0].is_alive()


def test_a_rival_that_cannot_is_said_and_all_end() -> None:
    case = rivals.Case("hybrid_1x32", 10, 1, 1)
    race = turns.Turns(["direct"], case, NOWHERE)
    with pytest.raises(InputError, match=r"^direct cannot compute hybrid_1x32 at 10, .*10"), race:
        pass
    assert not any(p.is_alive() for p in race._processes)


def test_a_table_has_one_clock(file: Path) -> None:
    stored = json.loads(file.read_text())
    stored["rows"].append(row(0.9, 1.0, batch=8, clock="cpu"))
    file.write_text(json.dumps(stored))
    with pytest.raises(InputError, match="mixes CPU time and time that passes"):
        inference_table.table(file)


def test_other_heatmaps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"eager": np.ones((1, 2)), "winograd": np.full((1, 2), 1.01)}
    race = turns.Turns([], CASE, NOWHERE)
    race._pipes = dict.fromkeys(answers)  # type: ignore[assignment]
    monkeypatch.setattr(race, "_answer", answers.__getitem__)
    monkeypatch.setattr(race, "__exit__", lambda *_: None)
    with pytest.raises(InputError, match="winograd: result 0 is off by 0.01 of its norm"):
        race.__enter__()


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, r in rivals.RIVALS.items() if r.needs])
def test_a_peer_computes_the_heatmaps(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if rivals.missing(name):
        pytest.skip(f"needs {rivals.missing(name)[0]}, which is not installed")
    file = tmp_path_factory.getbasetemp() / "inference.onnx"
    if not file.exists():
        rivals.write_onnx(CASE, file)
    got, want = (
        torch.as_tensor(rivals.RIVALS[n].build(CASE, file)()).float() for n in (name, "eager")
    )
    assert (got - want).norm() <= rivals.RIVALS[name].tolerance * want.norm()


def test_a_peer_that_is_missing_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(rivals.importlib.util, "find_spec", lambda name: None)
    assert list(inference.chosen(["direct", "openvino"])) == ["direct"]
    assert capsys.readouterr().out == (
        "openvino is left out, for the package onnx is missing; pip install 'softgate_ext[peers]'\n"
    )
    with pytest.raises(InputError, match="^rivals: got openvino, of which none is installed$"):
        inference.main(rivals=("openvino",), out=tmp_path / "a.json")


def test_what_got_worse_is_said() -> None:
    committed = {inference_table.key(r): r for r in (row(0.5, 1.0), row(0.5, 1.0, batch=8))}
    now = [row(0.56, 1.0), row(0.549, 1.0, batch=8), row(9.0, 1.0, batch=3)]
    assert list(inference_table.worse(now, committed)) == [
        "model hybrid_1x32, size 64, batch 1, threads 1: winograd takes 0.56 of openvino's time, "
        "which was 0.50"
    ]


@pytest.mark.parametrize(("committed", "status"), [(1e-6, 1), (1e6, None)])
def test_compare_ends_with_a_status(
    committed: float,
    status: int | None,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "rows": [row(committed, 1.0)]}))
    monkeypatch.setattr(inference, "chosen", lambda names: names)
    monkeypatch.setattr(inference, "write_onnx", lambda case, onnx: None)
    monkeypatch.setattr(inference, "measure", lambda *_: copy.deepcopy(row(0.9, 1.0)))
    arguments = {"models": ("hybrid_1x32",), "sizes": (64,), "batches": (1,), "threads": (1,)}
    out = tmp_path / "now.json"
    if status is None:
        inference.main(**arguments, out=out, compare=str(file))
    else:
        with pytest.raises(SystemExit) as ended:
            inference.main(**arguments, out=out, compare=str(file))
        assert ended.value.code == status
        assert "winograd takes 0.90 of openvino's time" in capsys.readouterr().out
    assert json.loads(out.read_text())["rows"] == [row(0.9, 1.0)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"models": ("hybrid_0",)}, r"models must be some of .*, got 'hybrid_0'"),
        ({"rivals": ()}, r"rivals must be some of eager, .*, got none"),
        ({"rounds": 0}, "rounds must be whole numbers from 1 on, got 0"),
        ({"busy": True}, "busy measures CPU time, .* so threads must be 1, got 2"),
        ({"threads": (1, -2)}, "threads must be whole numbers from 1 on, got -2"),
        ({"out": Path("x.txt")}, "out must end in .json, got 'x.txt'"),
        ({"compare": "none.json"}, "cannot read none.json .*"),
        ({"table": "none.json"}, "cannot read none.json .*"),
    ],
)
def test_refusals_are_sentences(options: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^{says}[^\n]*$"):
        inference.main(**{"out": tmp_path / "a.json", **options})
    assert list(tmp_path.iterdir()) == []


def test_compare_needs_both_and_the_same_cases(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "chosen", lambda names: names)
    out = file.with_name("b.json")
    with pytest.raises(
        InputError, match="^compare needs the rivals winograd and openvino, [^\n]*$"
    ):
        inference.main(rivals=("winograd",), compare=str(file), out=out)
    with pytest.raises(InputError, match="^compare: the file has none of the cases [^\n]*$"):
        inference.main(models=("hybrid_2x48",), compare=str(file), out=out)


def test_figures_of_another_machine_are_not_mixed(file: Path) -> None:
    machine = {**inference.describe(), "cpu": "another"}
    with pytest.raises(InputError, match="^out: .* was measured with cpu .*, here it is 'another'"):
        inference_table.read_rows(file, machine)


@pytest.mark.parametrize("text", ["[]", "{}", '{"machine": {}, "rows": [{"model": "m"}]}'])
def test_other_files_are_refused(text: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match="is no result file of benchmarks.inference$"):
        inference_table.read_rows(file)


def test_the_table_goes_between_the_marks(file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{inference_table.BEGIN}old{inference_table.END}\nafter\n")
    inference_table.write_table(file, page)
    inference_table.write_table(file, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert text.count("| hybrid_1x32 | 64 | 1 | 1 | 1350.0 (900.0) | 1500.0 (1000.0) | 0.90 |") == 1
    page.write_text("no marks")
    with pytest.raises(InputError, match=re.escape("it needs one '<!-- written by")):
        inference_table.write_table(file, page)
    assert page.read_text() == "no marks"
