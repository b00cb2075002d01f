"""Text from files is readable on a terminal and cannot control it."""

import io
from pathlib import Path

import numpy as np
import pytest
from official import coco, write_coco
from rich.console import Console

from softgate_ext.cli.results import complain
from softgate_ext.cli.run import main
from softgate_ext.data.synthetic import draw_people
from softgate_ext.files.console import caption, cell, say
from softgate_ext.files.printable import brief, printable

STEERING = "a\x1b[31mb\0c\x7fd\x9be\u202ef\u2028g\ud83dh\r"
SEEN = "a?[31mb?c?d?e?f?g?h?"


def test_what_steers_a_terminal_is_replaced() -> None:
    assert printable(STEERING) == SEEN
    for text in ("plain.jpg", "Zoë 日本語　名\u200cها 👩\u200d🚀\u00a0[bold]"):
        assert printable(text) == text
    assert brief(10**400) == "1" + "0" * 39 + "..."
    assert brief(f"{STEERING}.jpg", 5) == "a?[31..."


def test_lines_and_complaints(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    say(Console(file=out), f"[b]{STEERING}[/b]\nnext")
    assert out.getvalue() == f"[b]{SEEN}[/b]\nnext\n"
    complain("one\ntwo \x1b[2J")
    assert capsys.readouterr().err == "softgate: one two ?[2J\n"


def test_names_in_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of pictures, of categories and of joints, which hold what the terminal or the table obeys."""
    contents = coco([{"keypoints": [1, 2, 2, 3, 4, 2, 5, 6, 2]}])
    contents["images"][0]["file_name"] = "a\x1b[2J[/x].jpg"
    contents["categories"][0].update(name="\x1b[31m", keypoints=["[/x]", "b\x1b[2J", "[red]c"])
    path = write_coco(tmp_path / "annotations" / "dolls.json", contents)
    for picture in tmp_path.rglob("*.jpg"):
        picture.unlink()
    main(["data", "check", str(path), "--sheet", "None"])
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "a?[2J[/x].jpg" in said.out and "a?[2J[/x].jpg" in said.err
    for name in ("[/x]", "b?[2j", "[red]c"):
        assert f" {name} " in said.out.lower()


def test_names_in_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = draw_people(tmp_path / "people", 4, seed=3, image_size=80)
    joints = np.ones((3, 14, 2)) * [30, 40]
    names = ["im0003.jpg", "im0004.jpg", "x\x1b[2J[/x].jpg"]
    path = tmp_path / "[red]a.npz"
    np.savez(path, preds=joints, images=names)
    assert main(["evaluate", str(root), "--predictions", str(path)]) == 0
    said = capsys.readouterr().out
    assert "such as x?[2J[/x].jpg" in " ".join(said.split())
    np.savez(path, preds=joints[:1], images=names[2:])
    assert main(["evaluate", str(root), "--predictions", str(path)]) == 2
    assert "[red]a.npz has people of x?[2J[/x].jpg and no person" in capsys.readouterr().err


def test_a_cell_is_one_line_and_a_caption_may_have_several() -> None:
    assert cell("left\nhand \x1b[1m").plain == "left?hand ?[1m"
    assert caption("left\nhand \x1b[1m").plain == "left\nhand ?[1m"
