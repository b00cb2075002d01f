"""Files made to break a command: one sentence, exit code 2, at once, and nothing is written."""

import json
import math
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from official import coco, write_coco
from safetensors.torch import load_file, save_file

from softgate_ext.cli import run as command
from softgate_ext.cli.run import main
from softgate_ext.data.formats import open_dataset
from softgate_ext.data.images import page_count, read_image
from softgate_ext.errors import InputError
from softgate_ext.files import printable
from softgate_ext.files.atomic import write_text
from softgate_ext.files.paths import real_path
from softgate_ext.files.reading import read_json
from softgate_ext.files.tensors import read_tensors
from softgate_ext.inference.batches import check_open_files
from softgate_ext.prediction.kinds import kind_of
from softgate_ext.prediction.video import VideoReader

Changed = Callable[..., Path]


@pytest.fixture
def changed(run: Path, tmp_path: Path) -> Changed:
    """A copy of the run with values of its configuration or state changed."""

    def make(config: dict[str, Any] | None = None, **state: Any) -> Path:
        out = Path(shutil.copytree(run, tmp_path / "changed"))
        stored = json.loads((out / "config.json").read_text())
        for path, value in (config or {}).items():
            *parents, last = path.split(".")
            inner = stored
            for name in parents:
                inner = inner[name]
            inner[last] = value
        (out / "config.json").write_text(json.dumps(stored))
        if state:
            whole = torch.load(out / "training.pt", weights_only=True)
            torch.save({**whole, **state}, out / "training.pt")
        return out

    return make


@pytest.mark.parametrize("below", ["", "run"])
@pytest.mark.parametrize(
    "words",
    [
        "train {people} --out {loop}",
        "train {people} --out {out} --cache {loop} --device cpu --image-size 64",
        "train --out {loop} --resume",
        "predict {run} {people}/images/im0001.jpg --out {loop}",
        "gates {run} --prune 0.1 --out {loop}",
        "synth {loop} --count 2",
        "demo --out {loop}",
        "data cache {people} --cache {loop}",
        "data check {loop}",
        "evaluate {loop} {people}",
    ],
)
def test_a_link_to_itself(
    words: str, below: str, run: Path, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    places = {"run": run, "people": people, "loop": loop / below, "out": tmp_path / "out"}
    assert str(loop) in refused(*(word.format(**places) for word in words.split()))
    assert os.listdir(tmp_path) == ["loop"]


def test_real_paths_end_where_links_do(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(tmp_path)
    assert real_path(tmp_path / "link" / "loop") == real_path(tmp_path) / "loop"
    sources = Path(command.__file__).parents[1].rglob("*.py")
    assert not [path for path in sources if ".resolve()" in path.read_text(encoding="utf-8")
                and "__file__).resolve()" not in path.read_text(encoding="utf-8")]  # fmt: skip


DEEP = "[" * 100_000


def test_deep_json_in_metadata(changed: Changed, people: Path, refused: Callable[..., str]) -> None:
    out = changed()
    weights = out / "model.safetensors"
    save_file(load_file(weights), weights, {"softgate": DEEP})
    line = refused("predict", out, people / "images/im0001.jpg", "--out", out / "poses")
    assert "model.safetensors is not a readable safetensors file (it is nested too deeply)" in line


def test_deep_json_in_a_log(
    changed: Changed, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = changed()
    log = out / "log.jsonl"
    log.write_text(DEEP + "\n" + log.read_text())
    assert "log.jsonl is damaged: line 1" in refused("train", "--out", out, "--resume")
    new = tmp_path / "new"
    new.mkdir()
    (new / "log.jsonl").write_text(DEEP + "\n{}\n")
    assert "log.jsonl is damaged: line 1" in refused("train", people, "--out", new)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, values in {
            "image_size": (-1, 0, 10**30, True, 64.5),
            "sigma": (10**30, 0, math.nan),
            "box_margin": (-1, 0, 10**30, math.nan),
            "model.kwargs.stacks": (10**30, -1, True, math.nan),
            "model.kwargs.width": (10**30, True),
            "model.kwargs.groups": (True,),
            "training.threads": (True, -1, 10**30),
            "training.image_size": (-1, 10**30),
            "training.batch_size": (0, 10**30),
            "training.seed": (-1, 10**30),
            "training.workers": (10**6,),
        }.items()
        for value in values
    ],
    ids=str,
)
def test_stored_values_have_ranges(
    changed: Changed, people: Path, refused: Callable[..., str], name: str, value: Any
) -> None:
    out = changed({name: value})
    for words in (
        ("predict", out, people / "images/im0001.jpg", "--out", out / "poses"),
        ("train", "--out", out, "--resume"),
    ):
        line = refused(*words)
        assert "config.json: " in line and (name.split(".")[-1] in line)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("elapsed", "epoch", "best")
        for value in (math.nan, math.inf, -2, 10**30, True, "x", None)
    ],
)
def test_numbers_of_a_training_state_have_ranges(
    changed: Changed, refused: Callable[..., str], name: str, value: Any
) -> None:
    line = refused("train", "--out", changed(**{name: value}), "--resume", "--epochs", 3)
    assert f"training.pt: {name}: got {value!r}; takes a " in line


def test_a_name_with_a_zero_byte(tmp_path: Path, refused: Callable[..., str]) -> None:
    file = write_coco(tmp_path / "dolls" / "dolls.json", coco([{"keypoints": [5, 6, 2] * 3}] * 4))
    text = json.loads(file.read_text())
    text["images"][0]["file_name"] = "a\0"
    file.write_text(json.dumps(text))
    assert "first a?; looked in" in refused("train", file, "--out", tmp_path / "out")
    with pytest.raises(InputError, match=r"^path: got .*; takes the folder"):
        open_dataset("a\0")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


def test_postscript_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    def start(*arguments: Any, **options: Any) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    path = tmp_path / "a.jpg"
    path.write_bytes(POSTSCRIPT)
    assert kind_of(path) == "picture" and page_count(path) == 1
    with pytest.raises(InputError, match="is not a picture that can be read"):
        read_image(path)


def test_pictures_are_opened_by_name_of_format() -> None:
    """Everywhere: without `formats`, Pillow tries whatever it knows."""
    for path in Path(command.__file__).parents[1].rglob("*.py"):
        for call in path.read_text(encoding="utf-8").split("Image.open(")[1:]:
            assert "formats=" in call.split("\n")[0], path


def special(path: Path, kind: str) -> Path:
    if kind == "a named pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["a named pipe", "a device"])
def test_pipes_and_devices_are_not_waited_for(
    kind: str, run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(people / "images/im0001.jpg", folder / "good.jpg")
    picture = special(folder / "odd.jpg", kind)
    assert main(["predict", str(run), str(folder), "--out", str(tmp_path / "a")]) == 3
    assert (
        f"odd.jpg is {kind}, which could keep the program waiting for ever"
        in capsys.readouterr().err
    )
    assert main(["predict", str(run), str(picture), "--out", str(tmp_path / "b")]) == 2
    assert page_count(picture) == 1
    for read in (VideoReader, read_json, read_image):
        with pytest.raises(InputError, match=f"is {kind}"):
            read(picture)
    with pytest.raises(InputError, match=f"it is {kind}"):
        read_tensors(picture, "init")
    with pytest.raises(InputError, match=f"which is {kind}"):
        write_text(picture, "")
    assert not picture.is_file()


@pytest.mark.parametrize("kind", ["a named pipe", "a device"])
@pytest.mark.parametrize(
    "words",
    [
        "predict {run} {people}/images/im0001.jpg --boxes {odd} --out {out}",
        "evaluate --reference {odd}",
        "data check {folder}",
        "data check {people} --json {odd}",
        "evaluate {run} {pictures}",
        "train {pictures} --out {out} --device cpu",
    ],
)
def test_pipes_and_devices_are_refused(
    kind: str, words: str, run: Path, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "folder").mkdir()
    special(tmp_path / "folder" / "a.json", kind)
    special(tmp_path / "folder" / "data.yaml", kind)
    pictures = Path(shutil.copytree(people, tmp_path / "pictures"))
    for number in (2, 12):  # of the train part and of the test part
        (pictures / f"images/im{number:04d}.jpg").unlink()
        special(pictures / f"images/im{number:04d}.jpg", kind)
    places = {"run": run, "people": people, "folder": tmp_path / "folder", "pictures": pictures}
    places |= {"odd": special(tmp_path / "odd.json", kind), "out": tmp_path / "out"}
    refused(*(word.format(**places) for word in words.split()))
    assert not (tmp_path / "out").exists()


def dolls(tmp_path: Path, name: str) -> Path:
    """A file in COCO's form, in a folder `dolls`, whose picture, of another folder, has this name."""
    entries = [{"keypoints": [20, 20, 2, 50, 20, 2, 22, 60, 2]}] * 4
    file = write_coco(tmp_path / "dolls" / "annotations" / "dolls.json", coco(entries))
    text = json.loads(file.read_text())
    for image in text["images"]:
        picture = image["file_name"]
        image["file_name"] = name.format(tmp_path=tmp_path)
    file.write_text(json.dumps(text))
    (found,) = set(tmp_path.rglob(picture)) or {None}
    assert found is not None
    (tmp_path / "secret").mkdir()
    shutil.move(found, tmp_path / "secret" / "a.jpg")
    return file


@pytest.mark.parametrize(
    "name",
    ["../../secret/a.jpg", "{tmp_path}/secret/a.jpg", "secret/a.jpg", "x/../../../secret/a.jpg"],
)
def test_paths_in_annotation_files_stay_inside(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = dolls(tmp_path, name)
    out = str(tmp_path / "sheet.png")
    for path in (file, file.parents[1]):
        assert main(["data", "check", str(path), "--sheet", out]) == 2
        assert "secret" in capsys.readouterr().err and not os.path.exists(out)
    if not name.startswith("x"):
        assert main(["data", "check", str(file), "--sheet", out, "--allow-outside"]) == 0
        with pytest.raises(InputError):
            open_dataset(file, "all")
        assert len(open_dataset(file, "all", allow_outside=True))


@pytest.mark.parametrize("entry", ["path", "train"])
def test_paths_in_yaml_stay_inside(
    entry: str, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    file = tmp_path / "dolls" / "data.yaml"
    file.parent.mkdir()
    contents = {"kpt_shape": [3, 3], "path": ".", "train": "images", "val": "images"}
    if entry == "path":
        contents["path"] = str(people)
    else:
        contents["train"] = contents["val"] = str(people / "images")
    file.write_text(json.dumps(contents))
    line = refused("data", "check", file)
    assert "lies outside of the dataset" in line and "--allow-outside" in line
    assert "no sample in the label files" in refused("data", "check", file, "--allow-outside")


def test_yaml_that_grows(tmp_path: Path, refused: Callable[..., str]) -> None:
    """A few lines whose aliases stand for a thousand million names."""
    file = tmp_path / "data.yaml"
    lines = ["kpt_shape: [3, 3]", "train: images", "a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    file.write_text("\n".join([*lines, "names: [*a9]"]))
    assert "it has aliases, which are not read" in refused("data", "check", file)


class Terminal:
    """A stream of a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_escape_sequences_do_not_reach_the_terminal(
    run: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "\x1b[31m\x1b]0;title\x07\r\u202e[red]"
    picture = tmp_path / f"{name}.jpg"
    shutil.copy(people / "images/im0001.jpg", picture)
    out, bad = tmp_path / f"out{name}", tmp_path / f"bad{name}.jpg"
    bad.write_bytes(b"")
    terminal = Terminal()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}", terminal)
    assert main(["predict", str(run), str(picture), str(bad), "--out", str(out)]) == 3
    assert main(["gates", str(run), "--png", f"{out}/gates.png"]) == 0
    assert main(["data", "check", str(bad)]) == 2
    assert main(["synth", f"{out}/people", "--count", "2"]) == 0
    assert "[red]" in terminal.text
    for mark in ("\x1b[31m", "\x1b]", "\x07", "\r\u202e", "\u202e"):
        assert mark not in terminal.text


def test_programs_get_names_as_they_are(
    run: Path, people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = os.fsencode(tmp_path) + b"/\xff\x1b[31m.jpg"
    shutil.copy(people / "images/im0001.jpg", picture)
    out = tmp_path / "out"
    assert main(["predict", str(run), os.fsdecode(picture), "--out", str(out)]) == 0
    printable.tell("a\x1b")
    assert "\x1b[31m.png" in capfd.readouterr().out


@pytest.mark.parametrize("workers", [1, 4, 1000])
def test_few_open_files_are_told_before_the_training(
    workers: int, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = len(os.listdir("/dev/fd")) + 12 * workers
    if limits[1] != resource.RLIM_INFINITY:
        most = min(most, limits[1])
    words = ["train", people, "--out", tmp_path / "out", "--workers", workers, "--device", "cpu"]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
        line = refused(*words)
        check_open_files(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert f"workers: got {workers}, which may open {12 * (workers + 1)} files" in line
    assert not (tmp_path / "out").exists()


FEWER_FILES = "use fewer --workers, or a higher `ulimit -n`"
LARGER = "use fewer --workers, a smaller --batch-size, or a larger /dev/shm"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(24, "Too many open files"), FEWER_FILES),
        (RuntimeError("unable: Too many open files (24)"), FEWER_FILES),
        # As PyTorch says it.
        (RuntimeError("DataLoader worker (pid 9) is killed by signal: Killed. "), LARGER),
        (RuntimeError("DataLoader worker (pid(s) 9) exited unexpectedly"), LARGER),
        (RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nunable to allocate shared "
                      "memory(shm) for file </torch_1>: No space left on device (28)"), LARGER),
    ],
    ids=str,
)  # fmt: skip
def test_limits_of_the_machine_are_a_sentence(
    error: Exception, advice: str, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    from softgate_ext.cli import tools

    def fail(config: Any) -> None:
        raise error

    monkeypatch.setattr(tools, "print_info", fail)
    assert refused("info").endswith(advice)
